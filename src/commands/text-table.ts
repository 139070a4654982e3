/** How a column is set: words to the left, numbers to the right. The last column is never padded. */
export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
}

/** Lines of a table with its titles, each ended with a newline. Cells of one row for each column. */
export function textTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const lines = [columns.map(({ title }) => title), ...rows]
  const widths = columns.map((_, n) => Math.max(...lines.map((line) => line[n].length)))
  const set = (cell: string, n: number) => {
    if (columns[n].align === 'right') return cell.padStart(widths[n])
    return n === columns.length - 1 ? cell : cell.padEnd(widths[n])
  }
  return lines.map((line) => `${line.map(set).join('  ').trimEnd()}\n`).join('')
}

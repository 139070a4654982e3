export type Alignment = 'left' | 'right'

export interface Column {
  title: string
  /** Default left. */
  align?: Alignment
}

const GAP = '  '

/** Lines of text whose columns are as wide as their widest cell. Ends with a line break. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[]): string {
  const titles = columns.map(({ title }) => title)
  const widths = titles.map((title, n) => Math.max(title.length, ...rows.map((row) => (row[n] ?? '').length)))
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ align }, n) =>
        align === 'right' ? (cells[n] ?? '').padStart(widths[n]!) : (cells[n] ?? '').padEnd(widths[n]!),
      )
      .join(GAP)
      .trimEnd()
  const rule = widths.map((width) => '-'.repeat(width))
  return [titles, rule, ...rows].map((cells) => `${line(cells)}\n`).join('')
}

import { visible } from 'virtio-fs-ts/protocol'

/** The alignment of a column: words to the left, numbers to the right. */
export interface Column {
  readonly title: string
  /** The default is left. */
  readonly align?: 'left' | 'right'
}

type Rows = readonly (readonly string[])[]

/**
 * Formats a table with its titles. Each line ends with a newline, and each column is as wide as its widest
 * cell. A row may have fewer cells than there are columns.
 */
export function textTable(columns: readonly Column[], rows: Rows): string {
  return linesOf(columns, [titlesOf(columns), ...visibleRows(rows)])
}

/** Formats the same table with a rule of dashes below the titles. */
export function ruledTable(columns: readonly Column[], rows: Rows): string {
  const titles = titlesOf(columns)
  const shown = visibleRows(rows)
  const rule = widthsOf(columns, [titles, ...shown]).map((width) => '-'.repeat(width))
  return linesOf(columns, [titles, rule, ...shown])
}

/** Cells may hold what a guest chose. */
function visibleRows(rows: Rows): Rows {
  return rows.map((cells) => cells.map(visible))
}

function titlesOf(columns: readonly Column[]): string[] {
  return columns.map(({ title }) => title)
}

function widthsOf(columns: readonly Column[], rows: Rows): number[] {
  return columns.map((_, n) => Math.max(...rows.map((cells) => cells[n]?.length ?? 0)))
}

function linesOf(columns: readonly Column[], rows: Rows): string {
  const widths = widthsOf(columns, rows)
  const cellOf = ({ align }: Column, n: number, text = '') =>
    align === 'right' ? text.padStart(widths[n] ?? 0) : text.padEnd(widths[n] ?? 0)
  const lines = rows.map((cells) =>
    columns
      .map((column, n) => cellOf(column, n, cells[n]))
      .join('  ')
      .trimEnd(),
  )
  return lines.map((line) => `${line}\n`).join('')
}

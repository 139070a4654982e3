import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/** Where to write a result, besides the terminal. */
export interface ReportFiles {
  json?: string
  html?: string
}

/** Writes a result as JSON and as the page that `page` makes of it; makes missing folders. */
export function writeReports<Result>(
  { json, html }: ReportFiles,
  result: Result,
  page: (result: Result) => string,
): void {
  if (json !== undefined) writeInto(json, `${JSON.stringify(result, undefined, 1)}\n`)
  if (html !== undefined) writeInto(html, page(result))
}

function writeInto(file: string, text: string): void {
  mkdirSync(dirname(resolve(file)), { recursive: true })
  writeFileSync(file, text)
}

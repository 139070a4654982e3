import { type ReportFiles, writeReports } from '../report/write-reports.js'
import { labPage } from './html-report.js'
import type { LabResult } from './result.js'

/** Writing a page takes longer than running a cell. */
const PAGE_EVERY_MS = 5_000

/** The files of a result. They are rewritten during the run, so an early end keeps the findings so far. */
export class ResultFiles {
  private pageMs = Number.NEGATIVE_INFINITY

  constructor(private readonly files: ReportFiles) {}

  write(result: LabResult): void {
    const { json } = this.files
    const isPageDue = performance.now() - this.pageMs > PAGE_EVERY_MS
    if (isPageDue) this.pageMs = performance.now()
    writeReports(isPageDue ? this.files : { ...(json === undefined ? {} : { json }) }, result, labPage)
  }

  finish(result: LabResult): void {
    writeReports(this.files, result, labPage)
  }
}

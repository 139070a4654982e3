/** `make bench-compare OLD=a.json NEW=b.json`: fails when something became slower than noise explains. */
import { readFileSync } from 'node:fs'
import type { BenchReport } from './measure/bench-device/comparison.js'
import { findRegressions } from './measure/bench-device/regressions.js'
import { formatTable } from './report/text-table.js'

const EXIT_REGRESSION = 1
const EXIT_USAGE = 2

const [before, after] = process.argv.slice(2)
if (before === undefined || after === undefined) {
  process.stderr.write('usage: compare-reports BEFORE.json AFTER.json\n')
  process.exit(EXIT_USAGE)
}
const found = findRegressions(read(before), read(after))
if (found.length === 0) {
  process.stdout.write('nothing became slower\n')
} else {
  const columns = ['workload', 'measure', 'before', 'after', 'noise'].map((title) => ({ title }))
  const rows = found.map(({ name, measure, before, after, noise }) => [
    name,
    measure,
    before.toFixed(2),
    after.toFixed(2),
    `${(100 * noise).toFixed(0)}%`,
  ])
  process.stdout.write(formatTable(columns, rows))
  process.exitCode = EXIT_REGRESSION
}

function read(file: string): BenchReport {
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as BenchReport
    if (report.version === 1) return report
    process.stderr.write(`${file}: not a report of bench-device\n`)
  } catch (error) {
    process.stderr.write(`${file}: ${error instanceof Error ? error.message : error}\n`)
  }
  process.exit(EXIT_USAGE)
}

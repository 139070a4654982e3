/** `make bench-compare OLD=a.json NEW=b.json`: fails when something became slower than noise explains. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { runAsProgram } from './host/command-program.js'
import { SetupError } from './host/setup-error.js'
import type { BenchReport } from './measure/bench-device/comparison.js'
import { findRegressions } from './measure/bench-device/regressions.js'

const EXIT_REGRESSION = 1

async function run(_options: object, [before, after]: string[]): Promise<void> {
  const found = findRegressions(readReport(before!), readReport(after!))
  if (found.length === 0) {
    process.stdout.write('nothing became slower\n')
    return
  }
  const columns = ['workload', 'measure', 'before', 'after', 'noise'].map((title) => ({ title }))
  const rows = found.map(({ name, measure, before, after, noise }) => [
    name,
    measure,
    before.toFixed(2),
    after.toFixed(2),
    `${(100 * noise).toFixed(0)}%`,
  ])
  process.stdout.write(ruledTable(columns, rows))
  process.exitCode = EXIT_REGRESSION
}

/** Reads a report. Throws SetupError for any other file. */
function readReport(file: string): BenchReport {
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as BenchReport
    if (report.version === 1) return report
  } catch (error) {
    throw new SetupError(`${file}: ${error instanceof Error ? error.message : error}`)
  }
  throw new SetupError(`${file}: not a report of bench-device`)
}

const command = new Command('bench-compare')
  .description(
    'Compares two reports of bench-device. Status 1 when something became slower than noise explains.',
  )
  .argument('<before>')
  .argument('<after>')
  .exitOverride()

await runAsProgram(command, run)

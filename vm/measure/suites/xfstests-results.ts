import { readFileSync } from 'node:fs'
import { ruledTable } from '../../../src/commands/text-table.js'
import { SetupError } from '../../host/setup-error.js'
import { escapeXml } from '../../report/xml.js'
import type { Outcome } from './suites.js'

/** One case of a run. `not run` is a case of the expunge list, which has the reason. */
export interface CaseResult {
  readonly name: string
  readonly outcome: Outcome | 'not run'
  readonly seconds: number
  /** The end of a failed case's output, or why it was skipped or not run. */
  readonly details: string
}

/** The cases of one device on one kernel. */
export interface RunResult {
  readonly device: string
  readonly release: string
  readonly policy: string
  readonly cases: readonly CaseResult[]
}

/** Reads the run of our device from a file of --json. Throws SetupError. */
export function readBaseline(file: string): RunResult {
  try {
    const [run] = JSON.parse(readFileSync(file, 'utf8')) as RunResult[]
    if (run !== undefined && Array.isArray(run.cases)) return run
  } catch (error) {
    throw new SetupError(`${file} cannot be read: ${(error as Error).message}`)
  }
  throw new SetupError(`${file} is not a result of make xfstests`)
}

/** Cases that pass in the baseline and fail now. */
export function regressions(now: RunResult, baseline: RunResult): string[] {
  const passed = new Set(baseline.cases.filter(({ outcome }) => outcome === 'pass').map(({ name }) => name))
  return now.cases
    .filter(({ name, outcome }) => outcome === 'fail' && passed.has(name))
    .map(({ name }) => name)
}

/** A row for each case that does not pass everywhere, a column for each run; and the counts of each. */
export function resultTable(runs: readonly { title: string; run: RunResult }[]): string {
  const names = [...new Set(runs.flatMap(({ run }) => run.cases.map(({ name }) => name)))]
  const outcomeOf = ({ cases }: RunResult, name: string): string =>
    cases.find((one) => one.name === name)?.outcome ?? '-'
  const rows = names
    .map((name) => [name, ...runs.map(({ run }) => outcomeOf(run, name))])
    .filter(([, ...outcomes]) => outcomes.some((outcome) => outcome === 'fail' || outcome !== outcomes[0]))
  const counts = (['pass', 'fail', 'skip', 'not run'] as const).map((outcome) => [
    outcome,
    ...runs.map(({ run }) => String(run.cases.filter((one) => one.outcome === outcome).length)),
  ])
  const columns = [{ title: 'case' }, ...runs.map(({ title }) => ({ title }))]
  return ruledTable(columns, [...rows, ...counts])
}

/** A suite for each run, in the format of xunit as xfstests itself writes it. */
export function xunitXml(runs: readonly RunResult[]): string {
  const suites = runs.map(({ device, release, policy, cases }) => {
    const count = (...wanted: CaseResult['outcome'][]): number =>
      cases.filter(({ outcome }) => wanted.includes(outcome)).length
    const name = escapeXml(`xfstests on ${device}, ${policy}, Linux ${release}`)
    const head = `<testsuite name="${name}" tests="${cases.length}" failures="${count('fail')}" skipped="${count('skip', 'not run')}">`
    return `${head}\n${cases.map(testCase).join('')}</testsuite>\n`
  })
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${suites.join('')}</testsuites>\n`
}

function testCase({ name, outcome, seconds, details }: CaseResult): string {
  const head = `<testcase classname="xfstests" name="${name}" time="${seconds.toFixed(1)}"`
  if (outcome === 'pass') return `${head}/>\n`
  if (outcome === 'fail') return `${head}><failure>${escapeXml(details)}</failure></testcase>\n`
  return `${head}><skipped message="${escapeXml(details)}"/></testcase>\n`
}

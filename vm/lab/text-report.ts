import { ruledTable } from '../../src/commands/text-table.js'
import { allCases } from './all-cases.js'
import { optionSet, optionWords, type ShareName } from './option-sets.js'
import {
  type Cell,
  type KernelResult,
  type LabResult,
  unexpectedCells,
  type Verdict,
  verdictOf,
} from './result.js'

/** Trace lines shown on a terminal. The JSON file has all of them. */
const TRACE_LINES = 100
const NOTHING = '-'

const SUMMARIES: Readonly<Record<Verdict, string>> = {
  'as expected': 'the matrix is as expected',
  unexpected: 'THE MATRIX IS NOT AS EXPECTED',
  'not applicable': 'NO VERDICT, no case applies',
}

/** The matrix: one row for shares with the same outcomes, one column per kernel. */
export function matrixText({ kernels }: LabResult): string {
  const blocks = casesOf(kernels).map((name) => ({ heading: headingOf(name), rows: rowsOf(name, kernels) }))
  const [titles, rule, versions, ...lines] = ruledTable(
    [{ title: 'Linux' }, ...kernels.map((kernel) => ({ title: columnTitle(kernel) }))],
    [
      ['FUSE', ...kernels.map(({ fuse }) => fuse)],
      ...blocks.flatMap(({ rows }) => rows.map(([shares, ...cells]) => [`  ${shares}`, ...cells])),
    ],
  ).split('\n')
  const body = blocks.flatMap(({ heading, rows }) => [heading, ...lines.splice(0, rows.length)])
  return `${[titles, versions, rule, ...body].join('\n')}\n`
}

/** Transitions: a table for each kernel and share, with a row for what holds the inode. */
export function transitionTables({ kernels }: LabResult): string {
  return kernels
    .flatMap((kernel) => tablesOf(kernel).map(({ title, text }) => `${title}\n${text}`))
    .join('\n')
}

function tablesOf(kernel: KernelResult): { title: string; text: string }[] {
  const shares = [...new Set(kernel.transitions.map(({ share }) => share))]
  return shares.map((share) => {
    const { head, rows } = transitionRows(kernel, share)
    const columns = [{ title: 'from \\ to' }, ...head.map((title) => ({ title }))]
    return { title: `Opens that meet, on ${share}, ${columnTitle(kernel)}:`, text: ruledTable(columns, rows) }
  })
}

/** The head and the rows of a share's transitions. The first cell of a row is what holds the inode. */
export function transitionRows(
  { transitions }: KernelResult,
  share: string,
): { head: string[]; rows: string[][] } {
  const here = transitions.filter((transition) => transition.share === share)
  const head = [...new Set(here.map(({ to }) => to))]
  const rows = [...new Set(here.map(({ from }) => from))].map((from) => [
    from,
    ...head.map((to) => {
      const found = here.find((transition) => transition.from === from && transition.to === to)
      if (found === undefined) return NOTHING
      const { expected, observed } = found
      return expected === observed ? observed : `! ${observed} (expected ${expected ?? NOTHING})`
    }),
  ])
  return { head, rows }
}

/** "6.12.117", or "6.12.117 dev-fuse" if another server than ours served it. */
export function columnTitle({ release, server }: KernelResult): string {
  return server === 'virtiofsd-ts' ? shortRelease(release) : `${shortRelease(release)} ${server}`
}

/** The shares of a matrix and their options. */
export function sharesText({ kernels }: LabResult): string {
  const shares = new Set(kernels.flatMap(({ cells }) => cells.map(({ share }) => share as ShareName)))
  return ruledTable(
    [{ title: 'share' }, { title: 'options' }],
    [...shares].map((share) => [share, optionWords(optionSet(share))]),
  )
}

/** All details of an unexpected cell, with the end of its trace. */
export function unexpectedText({ release, server, fuse, judgedAs }: KernelResult, cell: Cell): string {
  const trace = cell.trace ?? []
  const rules = judgedAs === undefined ? '' : `, by ${judgedAs}`
  const left = trace.length - TRACE_LINES
  return [
    `UNEXPECTED: ${cell.case} on ${cell.share}, Linux ${release}, FUSE ${fuse}${server === 'virtiofsd-ts' ? '' : `, ${server}`}`,
    `  expected   ${cell.expected}${rules}`,
    `  observed   ${cell.observed}`,
    `  evidence   ${cell.evidence}`,
    ...cell.trouble.flatMap((text) => text.split('\n')).map((line) => `  kernel     ${line}`),
    `  trace      ${trace.length} requests${left > 0 ? `, the last ${TRACE_LINES}:` : ':'}`,
    ...trace.slice(-TRACE_LINES).map((line) => `    ${line}`),
    '',
  ].join('\n')
}

/** One line with the numbers of expected and unexpected cells. */
export function summaryText(result: LabResult): string {
  const cells = result.kernels.flatMap(({ cells }) => cells)
  const count = (verdict: Cell['verdict']): number => cells.filter((cell) => cell.verdict === verdict).length
  const unexpected = result.kernels.flatMap((kernel) => unexpectedCells(kernel)).length
  const verdict = SUMMARIES[verdictOf(result)]
  return `${verdict}: ${count('as expected')} cells as expected, ${unexpected} unexpected, ${count('not applicable')} do not apply`
}

/** A cell's text in a table: the observation and, if it is unexpected, the expectation. */
export function cellText(cell: Cell | undefined): string {
  if (cell?.needs !== undefined) return `(needs ${cell.needs})`
  if (cell === undefined || cell.verdict === 'not applicable') return NOTHING
  if (cell.verdict === 'as expected') return `${cell.observed}`
  const why = cell.observed === cell.expected ? 'kernel complains' : `expected ${cell.expected}`
  return `! ${cell.observed} (${why})`
}

/** "6.12.117" from "6.12.117+deb13-cloud-amd64", "6.1.0-50" from "6.1.0-50-cloud-amd64". */
export function shortRelease(release: string): string {
  return /^\d+(\.\d+)*(-\d+)?/.exec(release)?.[0] ?? release
}

function casesOf(kernels: readonly KernelResult[]): string[] {
  return [...new Set(kernels.flatMap(({ cells }) => cells.map((cell) => cell.case)))]
}

function headingOf(name: string): string {
  return `${name}: ${allCases.find((known) => known.name === name)?.question ?? ''}`
}

function rowsOf(name: string, kernels: readonly KernelResult[]): string[][] {
  return groupShares(name, kernels).map(({ shares, outcomes }) => [shares.join(', '), ...outcomes])
}

/** Groups shares of a case that have the same outcomes on every kernel. */
export function groupShares(
  name: string,
  kernels: readonly KernelResult[],
): { shares: string[]; outcomes: string[] }[] {
  const groups = new Map<string, { shares: string[]; outcomes: string[] }>()
  const shares = new Set(
    kernels.flatMap(({ cells }) => cells.filter((cell) => cell.case === name).map(({ share }) => share)),
  )
  for (const share of shares) {
    const outcomes = kernels.map(({ cells }) =>
      cellText(cells.find((cell) => cell.case === name && cell.share === share)),
    )
    const key = JSON.stringify(outcomes)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { shares: [share], outcomes })
    else group.shares.push(share)
  }
  return [...groups.values()]
}

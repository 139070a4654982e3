/** `make lab-compare`: what two kernels, or two sets of options, do differently, down to their requests. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { execa } from 'execa'
import { ruledTable } from '../src/commands/text-table.js'
import { SetupError } from './host/setup-error.js'
import { makeTemporaryDir } from './host/temporary-dir.js'
import { compareKernels, type Difference, type SharePair, type StreamLine } from './lab/compare.js'
import { comparePage } from './lab/compare-page.js'
import { EXIT_AS_EXPECTED, EXIT_UNEXPECTED, runForVerdict } from './lab/exit-status.js'
import { readResult } from './lab/expectations.js'
import type { KernelResult } from './lab/result.js'
import { writeReports } from './report/write-reports.js'

interface Options {
  cases?: string
  shares?: string
  beside?: string
  html?: string
}

const LAB = fileURLToPath(new URL('lab.js', import.meta.url))
/** Lines around a difference that are alike. */
const CONTEXT = 2

function makeCommand(): Command {
  return new Command('lab-compare')
    .description(
      'Shows the cells that differ between A and B, and the differences of their requests. ' +
        'Ends with 0 when nothing differs, with 1 when something does.',
    )
    .argument('<A>', 'a kernel as make lab takes it, which is run, or a result of --json')
    .argument('<B>', 'another')
    .option('--cases <glob>', 'cases to run', '!(mixed)/**')
    .option('--shares <glob>', 'shares to run')
    .option('--beside <share,share>', 'a share of A beside another share of B, such as direct,parallel')
    .option('--html <file>', 'write the comparison as a page')
}

async function run(options: Options, [a, b]: string[]): Promise<number> {
  const shares = parsePair(options.beside)
  const [left, right] = [await resultOf(a!, options), await resultOf(b!, options)]
  const { differences, compared } = compareKernels(left, right, shares)
  const titles = [titleOf(left), titleOf(right)] as const
  for (const difference of differences) say(textOf(difference))
  if (differences.length > 0) say(tableOf(differences, titles))
  const onWire = differences.filter(({ stream }) => stream.length > 0).length
  const summary = `${differences.length} of ${compared} cells differ, ${onWire} of them in their requests`
  say(summary)
  writeReports(options.html === undefined ? {} : { html: options.html }, differences, () =>
    comparePage(differences, titles, summary),
  )
  return differences.length === 0 ? EXIT_AS_EXPECTED : EXIT_UNEXPECTED
}

/** Another server than ours is named, so that two servers of one kernel can be told apart. */
function titleOf({ release, server }: KernelResult): string {
  return server === 'virtiofsd-ts' ? release : `${release} ${server}`
}

function parsePair(text: string | undefined): SharePair | undefined {
  if (text === undefined) return undefined
  const [left, right, ...more] = text.split(',')
  if (left && right && more.length === 0) return { left, right }
  throw new SetupError(`--beside ${text}: expected two shares, such as direct,parallel`)
}

async function resultOf(what: string, { cases, shares }: Options): Promise<KernelResult> {
  const kernels =
    what.endsWith('.json') && existsSync(what) ? readResult(what).kernels : await runLab(what, cases, shares)
  const [kernel] = kernels
  if (kernel === undefined || kernels.length > 1)
    throw new SetupError(`${what}: expected one kernel, found ${kernels.length}`)
  return kernel
}

async function runLab(kernel: string, cases = '**', shares = '**'): Promise<readonly KernelResult[]> {
  const dir = makeTemporaryDir()
  try {
    const json = join(dir.path, 'result.json')
    const args = ['--kernels', kernel, '--cases', cases, '--shares', shares, '--json', json]
    await execa(process.execPath, [LAB, ...args], { stdin: 'ignore', stdout: 2, stderr: 2, reject: false })
    if (!existsSync(json)) throw new SetupError(`${kernel}: the lab has no result`)
    return readResult(json).kernels
  } finally {
    dir.remove()
  }
}

function tableOf(differences: readonly Difference[], titles: readonly [string, string]): string {
  return ruledTable(
    [{ title: 'cell' }, ...titles.map((title) => ({ title })), { title: 'requests' }],
    differences.map(({ case: name, share, observed, stream }) => [
      `${name} on ${share}`,
      ...observed,
      stream.length === 0 ? 'alike' : 'differ',
    ]),
  )
}

function textOf({ case: name, share, observed: [a, b], stream }: Difference): string {
  const head = a === b ? `${name} on ${share}: ${a}` : `${name} on ${share}: ${a} | ${b}`
  return [head, ...shorten(stream).map(lineOf), ''].join('\n')
}

function lineOf({ side, text }: StreamLine): string {
  return `  ${{ both: ' ', left: '-', right: '+' }[side]} ${text}`
}

/** Lines without a difference are shown only beside lines with one. */
function shorten(lines: readonly StreamLine[]): StreamLine[] {
  const isNear = (at: number): boolean =>
    lines.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(({ side }) => side !== 'both')
  return lines.filter((_, at) => isNear(at))
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runForVerdict(makeCommand(), run)

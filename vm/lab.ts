/** `make lab`: the io-mode matrix. Boots kernels, runs cases, compares what was seen with the rules of fs/fuse. */
import { existsSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Command, Option } from 'commander'
import picomatch from 'picomatch'
import { ruledTable } from '../src/commands/text-table.js'
import { findKernel, KERNEL_NAMES } from './guest/kernel.js'
import { SetupError } from './host/setup-error.js'
import { allCases, selectCases } from './lab/all-cases.js'
import { EXIT_AS_EXPECTED, EXIT_NO_VERDICT, EXIT_UNEXPECTED, runForVerdict } from './lab/exit-status.js'
import { type Expectations, observedIn, rulesOf } from './lab/expectations.js'
import type { KernelChoice, LabGuest } from './lab/lab-guest.js'
import { OPTION_SETS, type ShareName } from './lab/option-sets.js'
import { shellWord, writeRepro } from './lab/repro.js'
import { type Cell, type KernelResult, type LabResult, unexpectedCells, verdictOf } from './lab/result.js'
import { ResultFiles } from './lab/result-files.js'
import { type RunListener, runKernel } from './lab/runner.js'
import { SERVER_NAMES, type ServerName } from './lab/servers/lab-server.js'
import { junitXml, ktapText } from './lab/test-formats.js'
import {
  cellText,
  matrixText,
  sharesText,
  summaryText,
  transitionTables,
  unexpectedText,
} from './lab/text-report.js'
import { buildKernel, FLAVOURS, type Flavour } from './lab/tree/build-kernel.js'
import { Worktree } from './lab/tree/worktree.js'
import type { ReportFiles } from './report/write-reports.js'

/**
 * The memory and time of a guest with the kernel's own checks: KASAN keeps a byte for each eight, and everything is
 * slower.
 */
const DEBUG_GUEST = { guestMiB: 1024, bootTimeoutMs: 600_000 }

interface Options extends ReportFiles {
  kernels: string
  kernelImage?: string
  tree?: string
  rev?: string
  flavour: Flavour
  modules?: string
  kernelArgs?: string
  bootLimit?: number
  qemu?: string
  device: ServerName
  cases: string
  shares: string
  judgeAs?: number
  expect?: string
  junit?: string
  repro?: string
  ktap?: true
  list?: true
}

function makeCommand(): Command {
  return new Command('lab')
    .description(
      'Tests what guest kernels do with direct I/O, shared mappings, parallel direct writes and caches. ' +
        `Ends with ${EXIT_AS_EXPECTED} when every cell of the matrix is as expected, with ${EXIT_UNEXPECTED} when one is not, ` +
        `and with ${EXIT_NO_VERDICT} when there is no result, as git bisect run takes it.`,
    )
    .option(
      '--kernels <names>',
      `kernels, some of ${KERNEL_NAMES.join(', ')}, releases that Debian has, or bzImages`,
      KERNEL_NAMES.join(' '),
    )
    .option('--kernel-image <path>', 'one kernel instead: a bzImage of your own')
    .option('--modules <path>', 'its modules, a folder like /lib/modules/RELEASE, unless all is built in')
    .option('--tree <path>', 'kernels built from this tree instead, in the cache, incrementally')
    .option('--rev <commits>', 'commits of that tree, each in turn, instead of what is checked out')
    .addOption(
      new Option('--flavour <name>', "debug: with the kernel's own checks (KASAN, lockdep, kmemleak)")
        .choices(FLAVOURS)
        .default('default'),
    )
    .option('--kernel-args <words>', "added to the kernel's command line")
    .option(
      '--boot-limit <seconds>',
      "the guest's time until it can run commands, without waits for a processor: 120, or 600 with debug",
      parseSeconds,
    )
    .option('--qemu <name or path>', 'as make run takes it')
    .addOption(
      new Option(
        '--device <name>',
        'the device that serves the shares; dev-fuse: a server of ours in the guest, without virtio',
      )
        .choices(SERVER_NAMES)
        .default('virtiofsd-ts'),
    )
    .option('--cases <glob>', 'only cases whose names match, such as "io-mode/*"', '**')
    .option('--shares <glob>', 'only shares whose names match, such as "parallel*"', '**')
    .option('--judge-as <7.minor>', "apply the rules of another FUSE version than the guest's", parseVersion)
    .option('--expect <file>', 'expect what an earlier run observed: a file of --json')
    .option('--json <file>', 'write the result as JSON, cell by cell')
    .option('--html <file>', 'write the result as a page, with timelines')
    .option('--junit <file>', 'write the result as JUnit XML')
    .option('--repro <folder>', 'write a script for each unexpected cell, which runs it alone')
    .option('--ktap', 'print KTAP, and all else on standard error')
    .option('--list', 'list the cases, and run none')
}

function parseVersion(text: string): number {
  const minor = /^7\.(\d+)$/.exec(text)?.[1]
  if (minor === undefined) throw new SetupError(`--judge-as ${text}: expected a version such as 7.39`)
  return Number(minor)
}

function parseSeconds(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new SetupError(`--boot-limit ${text}: expected a number of seconds`)
}

async function run(options: Options): Promise<number> {
  if (options.ktap) output = process.stderr
  const cases = selectCases(options.cases)
  if (options.list) {
    say(
      ruledTable(
        [{ title: 'case' }, { title: 'question' }],
        cases.map(({ name, question }) => [name, question]),
      ),
    )
    return EXIT_AS_EXPECTED
  }
  const runOptions = { selects: selectShares(options.shares), expectations: chooseExpectations(options) }
  const choices = options.tree === undefined ? chooseKernels(options) : chooseBuilds(options, options.tree)
  // First what can be missing: the guests find them again, in the cache.
  if (options.tree === undefined)
    for (const { kernel, modulesDir } of choices) await findKernel(kernel, modulesDir)

  const done: KernelResult[] = []
  const startedAt = new Date().toISOString()
  const files = new ResultFiles(options)
  const resultWith = (...kernels: KernelResult[]): LabResult => ({
    startedAt,
    kernels: [...done, ...kernels],
  })
  let failure: Error | undefined
  for (const choice of choices) {
    let soFar: KernelResult | undefined
    const listener = listen((kernel) => {
      soFar = kernel
      files.write(resultWith(kernel))
    })
    try {
      const built = await choice.build?.()
      soFar = await runKernel({ ...choice, image: built }, cases, listener, runOptions)
    } catch (error) {
      failure = error as Error
      say(`\nno verdict on ${choice.kernel}: ${failure.message}`)
    }
    if (soFar !== undefined) done.push(soFar)
  }
  const result = resultWith()
  files.finish(result)
  if (options.junit !== undefined) writeFileSync(options.junit, junitXml(result))
  if (options.ktap) process.stdout.write(ktapText(result))
  report(result, options)
  return statusOf(result, failure)
}

/** The arguments that run one cell of one kernel alone, from any folder. */
function againWords(options: Options, { kernel }: KernelResult, cell: Cell): string[] {
  const { tree, flavour, kernelImage, modules, kernelArgs, bootLimit, qemu, device, judgeAs, expect } =
    options
  const values: Record<string, string | undefined> = {
    ...(tree === undefined
      ? { [kernelImage === undefined ? 'kernels' : 'kernel-image']: pathOrName(kernel) }
      : { tree: pathOrName(tree), rev: kernel === tree ? undefined : kernel, flavour }),
    ...{ modules: pathOrName(modules), 'kernel-args': kernelArgs, qemu: pathOrName(qemu) },
    'boot-limit': bootLimit === undefined ? undefined : `${bootLimit}`,
    device: device === 'virtiofsd-ts' ? undefined : device,
    ...{ cases: cell.case, shares: cell.share },
    'judge-as': judgeAs === undefined ? undefined : `7.${judgeAs}`,
    expect: pathOrName(expect),
  }
  return Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]))
}

/** Some options take a path or a name of ours. */
function pathOrName(text: string | undefined): string | undefined {
  return text !== undefined && existsSync(text) ? resolve(text) : text
}

function report(result: LabResult, options: Options): void {
  const { json, html } = options
  if (result.kernels.length === 0) return
  for (const kernel of result.kernels)
    for (const cell of unexpectedCells(kernel)) {
      const words = againWords(options, kernel, cell)
      say(unexpectedText(kernel, cell))
      say(`  alone      vm/lab/lab ${words.map(shellWord).join(' ')}`)
      if (options.repro !== undefined) say(`             ${writeRepro(options.repro, kernel, cell, words)}`)
      say('')
    }
  const transitions = transitionTables(result)
  say(
    `\n${matrixText(result)}\n${transitions === '' ? '' : `${transitions}\n`}${sharesText(result)}\n${summaryText(result)}`,
  )
  for (const file of [json, html]) if (file !== undefined) say(pathToFileURL(resolve(file)).href)
}

/** An unexpected cell is one, whatever came after it. */
function statusOf(result: LabResult, failure: Error | undefined): number {
  const verdict = verdictOf(result)
  if (verdict === 'unexpected') return EXIT_UNEXPECTED
  return verdict === 'as expected' && failure === undefined ? EXIT_AS_EXPECTED : EXIT_NO_VERDICT
}

function chooseExpectations({ expect, judgeAs }: Options): Expectations {
  return expect === undefined ? rulesOf(judgeAs) : observedIn(expect)
}

interface Choice extends KernelChoice {
  /** Builds it; returns the path of its bzImage. */
  readonly build?: () => Promise<string>
}

/** The options that all kernels of a run have in common. */
function machineOf({ qemu, device, kernelArgs, bootLimit, flavour }: Options): Omit<Choice, 'kernel'> {
  return {
    server: device,
    qemu,
    kernelArgs: wordsOf(kernelArgs),
    ...(flavour === 'debug' ? DEBUG_GUEST : {}),
    ...(bootLimit === undefined ? {} : { bootTimeoutMs: bootLimit * 1000 }),
  }
}

/** The tree as it is, or some of its commits. */
function chooseBuilds(options: Options, tree: string): Choice[] {
  const { rev, flavour } = options
  const about = machineOf(options)
  if (rev === undefined) return [{ ...about, kernel: tree, build: () => buildKernel(tree, flavour) }]
  return wordsOf(rev).map((commit) => ({
    ...about,
    kernel: commit,
    build: async () => {
      const worktree = await Worktree.of(tree)
      await worktree.checkOut(commit)
      return buildKernel(worktree.path, flavour)
    },
  }))
}

function wordsOf(text: string | undefined): string[] {
  return text?.split(/\s+/).filter((word) => word !== '') ?? []
}

function chooseKernels(options: Options): Choice[] {
  const { kernels, kernelImage, modules } = options
  const names =
    kernelImage === undefined ? kernels.split(/[\s,]+/).filter((name) => name !== '') : [kernelImage]
  if (names.length === 0) throw new SetupError('--kernels names no kernel')
  return names.map((kernel) => ({ ...machineOf(options), kernel, modulesDir: modules }))
}

function selectShares(glob: string): (share: ShareName) => boolean {
  const matches = picomatch(glob)
  if (OPTION_SETS.some(({ name }) => matches(name))) return (share) => matches(share)
  const names = OPTION_SETS.map(({ name }) => name).join(', ')
  throw new SetupError(`no share is called ${glob}: there are ${names}`)
}

/** A line for each cell, as it comes. */
function listen(keep: (kernel: KernelResult) => void): RunListener {
  const caseWidth = Math.max(...allCases.map(({ name }) => name.length))
  const shareWidth = Math.max(...OPTION_SETS.map(({ name }) => name.length))
  return {
    booted({ guest, versions: { release, fuse } }: LabGuest) {
      say(`\nLinux ${release}, FUSE ${fuse}, up in ${(guest.bootMs / 1000).toFixed(1)} s`)
    },
    begun({ name, seconds }, share) {
      if (seconds !== undefined) say(`  ${name} on ${share} takes ${seconds} s ...`)
    },
    ended(cell, kernel) {
      keep(kernel)
      if (cell.verdict === 'not applicable') return
      const time = `${(cell.ms / 1000).toFixed(1)} s`.padStart(7)
      say(`  ${cell.case.padEnd(caseWidth)}  ${cell.share.padEnd(shareWidth)} ${time}  ${cellText(cell)}`)
    },
  }
}

/** Where people read; with --ktap standard output is for programs. */
let output: NodeJS.WriteStream = process.stdout

function say(text: string): void {
  output.write(`${text}\n`)
}

await runForVerdict(makeCommand(), run)

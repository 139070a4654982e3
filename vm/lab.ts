/** `make lab`: the io-mode matrix. Boots kernels, runs cases, compares what was seen with the rules of fs/fuse. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { findKernel, KERNEL_NAMES } from './guest/kernel.js'
import { runAsProgram } from './host/command-program.js'
import { SetupError } from './host/setup-error.js'
import { allCases, selectCases } from './lab/all-cases.js'
import { labPage } from './lab/html-report.js'
import type { KernelChoice } from './lab/lab-guest.js'
import { OPTION_SETS } from './lab/option-sets.js'
import { isAsExpected, type KernelResult } from './lab/result.js'
import { type RunListener, runKernel } from './lab/runner.js'
import { cellText, matrixText, sharesText, summaryText, unexpectedText } from './lab/text-report.js'
import { type ReportFiles, writeReports } from './report/write-reports.js'

const EXIT_FAILURE = 1

interface Options extends ReportFiles {
  kernels: string
  kernelImage?: string
  modules?: string
  qemu?: string
  cases: string
  judgeAs?: number
  list?: true
}

function makeCommand(): Command {
  return new Command('lab')
    .description(
      'Asks guest kernels what they make of direct I/O, shared mappings and parallel direct writes. Ends with 1 when a cell of the matrix is unexpected.',
    )
    .option(
      '--kernels <names>',
      `kernels, some of ${KERNEL_NAMES.join(', ')}, or bzImages`,
      KERNEL_NAMES.join(' '),
    )
    .option('--kernel-image <path>', 'one kernel instead: a bzImage of your own')
    .option('--modules <path>', 'its modules, a folder like /lib/modules/RELEASE, unless all is built in')
    .option('--qemu <name or path>', 'as make run takes it')
    .option('--cases <glob>', 'only cases whose names match, such as "io-mode/*"', '**')
    .option('--judge-as <7.minor>', "apply the rules of another FUSE version than the guest's", parseVersion)
    .option('--json <file>', 'write the result as JSON')
    .option('--html <file>', 'write the result as a page, with timelines')
    .option('--list', 'list the cases, and run none')
    .exitOverride()
}

function parseVersion(text: string): number {
  const minor = /^7\.(\d+)$/.exec(text)?.[1]
  if (minor === undefined) throw new SetupError(`--judge-as ${text}: expected a version such as 7.39`)
  return Number(minor)
}

async function run(options: Options): Promise<void> {
  const cases = selectCases(options.cases)
  if (options.list)
    return say(
      ruledTable(
        [{ title: 'case' }, { title: 'question' }],
        cases.map(({ name, question }) => [name, question]),
      ),
    )
  const choices = chooseKernels(options)
  // First what can be missing: the guests find them again, in the cache.
  for (const { kernel, modulesDir } of choices) await findKernel(kernel, modulesDir)

  const result: { startedAt: string; kernels: KernelResult[] } = {
    startedAt: new Date().toISOString(),
    kernels: [],
  }
  for (const choice of choices) {
    const kernel = await runKernel(choice, cases, listen(), { judgeAs: options.judgeAs })
    result.kernels.push(kernel)
    for (const cell of kernel.cells) if (cell.verdict === 'unexpected') say(unexpectedText(kernel, cell))
    // What there is, should a later kernel fail.
    writeReports(options, result, labPage)
  }
  say(`\n${matrixText(result)}\n${sharesText(result)}\n${summaryText(result)}`)
  for (const file of [options.json, options.html])
    if (file !== undefined) say(pathToFileURL(resolve(file)).href)
  if (!isAsExpected(result)) process.exitCode = EXIT_FAILURE
}

function chooseKernels({ kernels, kernelImage, modules, qemu }: Options): KernelChoice[] {
  const names =
    kernelImage === undefined ? kernels.split(/[\s,]+/).filter((name) => name !== '') : [kernelImage]
  if (names.length === 0) throw new SetupError('--kernels names no kernel')
  return names.map((kernel) => ({ kernel, modulesDir: modules, qemu }))
}

/** A line for each cell, as it comes. */
function listen(): RunListener {
  const caseWidth = Math.max(...allCases.map(({ name }) => name.length))
  const shareWidth = Math.max(...OPTION_SETS.map(({ name }) => name.length))
  return {
    booted({ guest, versions: { release, fuse } }) {
      say(`\nLinux ${release}, FUSE ${fuse}, up in ${(guest.bootMs / 1000).toFixed(1)} s`)
    },
    begun({ name, seconds }, share) {
      if (seconds !== undefined) say(`  ${name} on ${share} takes ${seconds} s ...`)
    },
    ended(cell) {
      if (cell.verdict === 'not applicable') return
      const time = `${(cell.ms / 1000).toFixed(1)} s`.padStart(7)
      say(`  ${cell.case.padEnd(caseWidth)}  ${cell.share.padEnd(shareWidth)} ${time}  ${cellText(cell)}`)
    },
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runAsProgram(makeCommand(), run)

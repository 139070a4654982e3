/** A script for each unexpected cell, which runs that cell alone. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Cell, KernelResult } from './result.js'
import { shortRelease } from './text-report.js'

const LAB = fileURLToPath(new URL('../lab.js', import.meta.url))

/** Quotes a word for sh(1). */
export function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

/** The script. `args` are the lab's arguments for the cell. */
export function reproScript(
  { release, fuse, server }: KernelResult,
  cell: Cell,
  args: readonly string[],
): string {
  const { qemu, servers, steps } = cell.recording ?? { qemu: '', servers: [], steps: [] }
  const comment = (title: string, lines: readonly string[]): string[] => [
    `# ${title}`,
    ...lines.flatMap((line) => line.split('\n')).map((line) => `#   ${line}`),
    '#',
  ]
  return [
    '#!/bin/sh',
    `# ${cell.case} on ${cell.share}, Linux ${release}, FUSE ${fuse}, ${server}`,
    `# expected: ${cell.expected}`,
    `# observed: ${cell.observed}`.replaceAll('\n', ' '),
    ...comment(
      'Ends with 1 if that is so again, with 0 if it is as expected, with 125 if nothing was found out.',
      [],
    ),
    ...comment('The device:', servers),
    ...comment('QEMU:', [qemu]),
    ...comment('What the programs in the guest and the device were told:', steps),
    `exec ${[process.execPath, LAB, ...args].map(shellWord).join(' ')} "$@"`,
    '',
  ].join('\n')
}

/** Writes DIR/RELEASE/CASE@SHARE/repro.sh. Returns its path. */
export function writeRepro(dir: string, kernel: KernelResult, cell: Cell, args: readonly string[]): string {
  const name = `${cell.case.replaceAll('/', '-')}@${cell.share}`
  const folder = join(dir, shortRelease(kernel.release), name)
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'repro.sh')
  writeFileSync(path, reproScript(kernel, cell, args))
  chmodSync(path, 0o755)
  return path
}

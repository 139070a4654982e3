/**
 * docs/compatibility.md is true: its options are those of the option table and of virtiofsd's --help, and both devices
 * answer each opcode as the page says.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { constants as os, tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Opcode } from 'virtio-fs-ts/protocol'
import { dashed, type OptionSpec } from '../../../src/config/option-spec.js'
import { optionsByName, optionTable } from '../../../src/config/option-table.js'
import { DeviceProcess } from '../../../vm/device/device-process.js'
import { runCommand } from '../../../vm/host/command.js'
import { collectedProgram } from '../../../vm/packages/collected-program.js'
import { fetchOrSkip } from '../../support/fetch-or-skip.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseClient, GuestRequest } from '../../support/fuse/fuse-client.js'
import { concat, cstring, u32 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'

const PEER = 'virtiofsd-1.14'
const OLDER_PEER = 'virtiofsd-1.13'
const page = readFileSync(new URL('../../../../docs/compatibility.md', import.meta.url), 'utf8')

t.setTimeout(300_000)

/** The rows below a heading, as cells without their backticks. */
function rowsBelow(heading: string): string[][] {
  const [, section = ''] = page.split(`## ${heading}\n`)
  const [text = ''] = section.split('\n## ')
  return [...text.matchAll(/^\| (`.*) \|$/gm)].map(([, row]) =>
    (row as string).split(' |').map((cell) => cell.replaceAll('`', '').trim()),
  )
}

const comparedRows = rowsBelow('Options').filter((cells) => cells.length === 4)
const olderRows = rowsBelow('Version 1.13')
const ownRows = rowsBelow('Options').filter((cells) => cells.length === 2)

/** The option's default, as the page writes it. */
function defaultOf({ kind, default: fallback, ignored }: OptionSpec): string {
  if (ignored !== undefined) return 'no effect'
  if (kind.type === 'flag') return fallback === true ? 'on' : 'off'
  return typeof fallback === 'string' ? fallback : '-'
}

/** The options of virtiofsd and their defaults, by the text of its --help. */
function peerOptions(help: string): Map<string, string> {
  const options = new Map<string, string>()
  const starts = [...help.matchAll(/^ +(?=-)(?:-(\w)(?:, )?)?(?:--(?:no-)?([a-z0-9-]+))?((?:\[?=| )<.*)?$/gm)]
  starts.forEach((start, n) => {
    const [line, short, long, value] = start
    const name = long ?? short
    if (name === undefined) return
    const text = help.slice(start.index, starts[n + 1]?.index)
    const said = /^ +\[default: ([\w-]+)\]$/m.exec(text)?.[1]
    const isDefault = / \[default\]/.test(text)
    const off = line.includes('--no-')
    const fallback = value !== undefined ? (said ?? '-') : isDefault !== off ? 'on' : 'off'
    // A pair of --x and --no-x is one option; where there is only --no-x, x is on.
    if (value !== undefined || isDefault || !options.has(name)) {
      options.set(name, off && !isDefault && !help.includes(`--${name}\n`) ? 'on' : fallback)
    }
  })
  return options
}

t.test('every option has a row, with the default that it has', async (t) => {
  for (const [option, , ours, difference] of comparedRows) {
    const name = (option as string).replace(/^-+/, '')
    const spec = optionsByName.get(name)
    if (spec === undefined) t.equal(ours, 'missing', `${option} is not here`)
    else t.equal(ours, defaultOf(spec), `${option}: its default here`)
    t.notMatch(difference, /^(undefined)/)
  }
  const rows = [...comparedRows, ...ownRows].flatMap(([cell]) => (cell as string).split(', '))
  t.same(
    rows.filter((row, n) => rows.indexOf(row) !== n),
    [],
    'no option has two rows',
  )
  // The page may name an option that is on as it is typed: --no-suid.
  const missing = optionTable.filter(
    ({ name, negated }) => !rows.includes(dashed(name)) && !(negated && rows.includes(`--no-${name}`)),
  )
  t.same(missing, [])
})

t.test('the options of virtiofsd are those of its --help', async (t) => {
  const dir = await fetchOrSkip(t, PEER)
  if (dir === undefined) return
  const { command, args } = collectedProgram(dir, 'virtiofsd')
  const peer = peerOptions(await runCommand(command, [...args, '--help']))
  t.ok(peer.size > 35)
  const rows = new Map(
    comparedRows.map(([option, theirs]) => [(option as string).replace(/^-+/, ''), theirs]),
  )
  t.same(
    [...peer.keys()].filter((name) => !rows.has(name)),
    [],
    'all have a row',
  )
  t.same(
    [...rows.keys()].filter((name) => !peer.has(name)),
    [],
    'no row is made up',
  )
  for (const [name, theirs] of peer) t.equal(rows.get(name), theirs, `${name}: its default there`)
  for (const [option, theirs, ours, difference] of comparedRows) {
    if (theirs !== ours && ours !== 'no effect')
      t.not(difference, '', `${option}: the difference is explained`)
  }
})

t.test('the options of virtiofsd 1.13 are the same, except those that the page names', async (t) => {
  const dir = await fetchOrSkip(t, OLDER_PEER)
  if (dir === undefined) return
  const { command, args } = collectedProgram(dir, 'virtiofsd')
  const older = peerOptions(await runCommand(command, [...args, '--help']))
  const different = comparedRows.flatMap(([option, theirs]) => {
    const before = older.get((option as string).replace(/^-+/, ''))
    return before === theirs ? [] : [[option, before ?? 'missing']]
  })
  const byName = (a: unknown[], b: unknown[]) => String(a[0]).localeCompare(String(b[0]))
  t.same(different.sort(byName), olderRows.map(([option, before]) => [option, before]).sort(byName))
  t.equal(older.size, comparedRows.length, 'it has no others')
})

const zeros = (lenBytes: number) => new Uint8Array(lenBytes)
const name = (lenBytes: number, ...names: string[]) =>
  concat(zeros(lenBytes), ...names.map((one) => cstring(one)))

/** Valid arguments for operations that take a name; zeros are enough for the others. */
const argsOf: Readonly<Record<string, Uint8Array>> = {
  LOOKUP: name(0, 'name'),
  SYMLINK: name(0, 'symlink', 'target'),
  MKNOD: name(16, 'node'),
  MKDIR: name(8, 'dir'),
  UNLINK: name(0, 'name'),
  RMDIR: name(0, 'name'),
  RENAME: name(8, 'from', 'to'),
  RENAME2: name(16, 'from', 'to'),
  LINK: name(8, 'link'),
  CREATE: name(16, 'created'),
  TMPFILE: name(16, 'tmp'),
  SETXATTR: concat(u32('value'.length + 1, 0), cstring('user.name'), cstring('value')),
  GETXATTR: name(8, 'user.name'),
  REMOVEXATTR: name(0, 'user.name'),
}

/** Opcodes of the session itself, and those without a reply. */
const special = new Set(['INIT', 'DESTROY', 'FORGET', 'BATCH_FORGET', 'INTERRUPT', 'NOTIFY_REPLY'])

/** Returns true if the device carries out an opcode, with whatever result. */
function answer(fs: FuseClient, opcode: number, args: Uint8Array): 'yes' | 'ENOSYS' {
  const request: GuestRequest = { opcode, nodeid: ROOT_ID, args, reply: { argBytes: 0, dataBytes: 4096 } }
  return fs.call(request).error === os.errno.ENOSYS ? 'ENOSYS' : 'yes'
}

for (const [column, device] of [
  [1, PEER],
  [2, 'virtiofsd-ts'],
] as const) {
  t.test(`opcodes: what ${device} answers`, async (t) => {
    if (device === PEER && (await fetchOrSkip(t, PEER)) === undefined) return
    const sharedDir = mkdtempSync(join(tmpdir(), 'compatibility-'))
    t.teardown(() => rmSync(sharedDir, { recursive: true, force: true }))
    const options = device === PEER ? ['--xattr'] : ['--posix-lock', '--flock']
    const process = await DeviceProcess.start({ device, sharedDir, args: ['--sandbox', 'none', ...options] })
    t.teardown(() => process.stop())
    const fs = mount(t, process)
    const rows = rowsBelow('Opcodes')
    const numbers = new Map<string, number>(Object.entries(Opcode))
    t.same(rows.map(([opcode]) => opcode).sort(), [...numbers.keys()].sort(), 'each has a row')
    for (const row of rows) {
      const [opcode] = row as [string]
      if (special.has(opcode)) continue
      t.equal(answer(fs, numbers.get(opcode) as number, argsOf[opcode] ?? zeros(128)), row[column], opcode)
    }
    fs.close()
  })
}

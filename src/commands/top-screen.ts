import { visible } from 'virtio-fs-ts/protocol'
import type { InodeReport } from '../inspect/inode-activity.js'
import type { LockReport } from '../passthrough/locks/locks.js'
import { type Column, textTable } from './text-table.js'
import type { ShareRow } from './top-figures.js'

const MOST_OPCODES = 8
const MOST_FILES = 10
const MOST_WAITS = 5

/** A file, and what the guest did with it since the last look. */
export interface FileRow {
  readonly share: string
  readonly file: InodeReport
  readonly readsPerSecond: number
  readonly writesPerSecond: number
}

/** A process of a guest that waits. */
export interface WaitRow {
  readonly share: string
  readonly lock: LockReport & { readonly seconds: number; readonly heldBy: string }
}

/** Everything on one screen. `files` is undefined if files are not watched. */
export interface Screen {
  readonly shares: readonly ShareRow[]
  readonly files: readonly FileRow[] | undefined
  readonly waits: readonly WaitRow[]
}

const left = (title: string): Column => ({ title })
const right = (title: string): Column => ({ title, align: 'right' })

/** Writes the screen as lines. */
export function screenLines({ shares, files, waits }: Screen, now: Date): string[] {
  const text = [
    `virtiofsd-ts  ${now.toISOString().slice(11, 19)} UTC  ${shares.length} ${shares.length === 1 ? 'share' : 'shares'}\n`,
    sharesTable(shares),
    opcodesTable(shares),
    ...(files === undefined ? [] : [filesTable(files)]),
    ...(waits.length === 0 ? [] : [waitsTable(waits)]),
  ].join('\n')
  return text.trimEnd().split('\n')
}

function sharesTable(shares: readonly ShareRow[]): string {
  return textTable(
    [
      left('share'),
      left('state'),
      ...[
        'ops/s',
        'errors/s',
        'read/s',
        'written/s',
        'p50',
        'p99',
        'in flight',
        'limited',
        'inodes',
        'files',
      ].map(right),
      left('directory'),
    ],
    shares.map((row) => {
      const { figures, name, directory } = row.share
      return [
        name,
        stateOf(row),
        count(row.perSecond),
        count(row.errorsPerSecond),
        bytes(row.readPerSecond),
        bytes(row.writtenPerSecond),
        time(row.p50Us),
        time(row.p99Us),
        figures === undefined ? '?' : `${figures.inFlight}`,
        figures === undefined ? '?' : `${figures.limits.waiting}`,
        figures?.use === undefined ? '' : count(figures.use.inodes),
        figures?.use === undefined ? '' : count(figures.use.files),
        directory,
      ]
    }),
  )
}

function stateOf({ share: { state, figures } }: ShareRow): string {
  if (state === 'failed') return state
  if (figures === undefined) return 'stuck'
  if (figures.mounted) return 'mounted'
  return figures.connected ? 'connected' : 'idle'
}

function opcodesTable(shares: readonly ShareRow[]): string {
  const rows = shares
    .flatMap(({ share, opcodes }) => opcodes.map((row) => ({ ...row, share: share.name })))
    .sort((a, b) => b.perSecond - a.perSecond)
    .slice(0, MOST_OPCODES)
  return textTable(
    [left('operation'), left('share'), ...['ops/s', 'errors/s', 'p50', 'p99'].map(right)],
    rows.map((row) => [
      row.opcode,
      row.share,
      count(row.perSecond),
      count(row.errorsPerSecond),
      time(row.p50Us),
      time(row.p99Us),
    ]),
  )
}

function filesTable(files: readonly FileRow[]): string {
  const busiest = [...files]
    .sort((a, b) => b.readsPerSecond + b.writesPerSecond - a.readsPerSecond - a.writesPerSecond)
    .slice(0, MOST_FILES)
  return textTable(
    [...['reads/s', 'writes/s', 'in flight', 'open'].map(right), left('share'), left('file')],
    busiest.map(({ share, file, readsPerSecond, writesPerSecond }) => [
      count(readsPerSecond),
      count(writesPerSecond),
      `${file.writesInFlight}`,
      `${file.openNow}`,
      share,
      file.path ?? `node ${file.nodeid}`,
    ]),
  )
}

function waitsTable(waits: readonly WaitRow[]): string {
  return textTable(
    [right('waits'), right('process'), left('wants'), left('held by'), left('share'), left('file')],
    waits
      .slice(0, MOST_WAITS)
      .map(({ share, lock }) => [
        `${lock.seconds.toFixed(0)} s`,
        `${lock.pid}`,
        `${lock.type} ${lock.kind}`,
        lock.heldBy,
        share,
        visible(lock.path ?? 'no name'),
      ]),
  )
}

/** "12", "3.4k", "12M". */
function count(value: number): string {
  return scaled(value, 1000, ['', 'k', 'M', 'G'])
}

function bytes(value: number): string {
  return scaled(value, 1024, ['', 'K', 'M', 'G', 'T'])
}

function time(us: number | undefined): string {
  if (us === undefined) return ''
  return us < 1000
    ? `${Number(us.toPrecision(3))} us`
    : us < 1e6
      ? `${Number((us / 1000).toPrecision(3))} ms`
      : `${Number((us / 1e6).toPrecision(3))} s`
}

function scaled(value: number, base: number, units: readonly string[]): string {
  let unit = 0
  let left = value
  while (left >= base && unit < units.length - 1) {
    left /= base
    unit++
  }
  return `${left >= 10 || Number.isInteger(left) ? Math.round(left) : left.toFixed(1)}${units[unit]}`
}

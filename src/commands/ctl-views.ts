import type { CountsReport } from 'virtio-fs-ts/protocol'
import { visible } from 'virtio-fs-ts/protocol'
import { hasName } from '../basics/has-name.js'
import type { ControlledShare } from '../control/control-commands.js'
import type { FaultReport } from '../inspect/fault-rule.js'
import { faultWords } from '../inspect/fault-words.js'
import type { InodeReport } from '../inspect/inode-activity.js'
import type { LatencyReport } from '../inspect/latencies.js'
import type { LockReport, LocksReport } from '../passthrough/locks/locks.js'
import { type Column, textTable } from './text-table.js'

/** Formats a command's result for people; the text ends with a newline. */
export function viewOf(command: string, result: unknown): string {
  const view = hasName(views, command) ? views[command] : viewOfObject
  // The device sent this answer to this command, so it has the type of the view's argument.
  return view(result as never)
}

const left = (title: string): Column => ({ title })
const right = (title: string): Column => ({ title, align: 'right' })

const views = {
  shares: (shares: readonly ControlledShare[]) =>
    textTable(
      [left('share'), left('directory'), left('socket')],
      shares.map(({ name, directory, socketPath }) => [name, directory, socketPath]),
    ),

  counts: ({ requests, errors }: CountsReport) =>
    orNone(
      textTable(
        [left('opcode'), right('requests'), right('errors')],
        Object.entries(requests)
          .sort(([, a], [, b]) => b - a)
          .map(([opcode, count]) => [opcode, `${count}`, `${errors[opcode] ?? 0}`]),
      ),
      requests,
    ),

  inodes: (inodes: readonly InodeReport[]) =>
    orNone(
      textTable(
        [
          ...['overlap', 'in flight', 'overlapped', 'direct', 'write-back', 'reads', 'open'].map(right),
          ...['path', 'opens by FOPEN flags', 'writes that came alone'].map(left),
        ],
        inodes.map((inode) => [
          `${inode.highestOverlap}`,
          `${inode.writesInFlight}`,
          `${inode.overlappedWrites}`,
          `${inode.directWrites}`,
          `${inode.cachedWrites}`,
          `${inode.reads}`,
          `${inode.openNow}`,
          inode.path ?? `node ${inode.nodeid}`,
          countsOf(inode.opens),
          countsOf(inode.loneWrites),
        ]),
      ),
      inodes,
    ),

  latency: (rows: readonly LatencyReport[]) =>
    orNone(
      textTable(
        [left('opcode'), ...['count', 'mean us', 'p50 us', 'p90 us', 'p99 us', 'max us'].map(right)],
        rows.map(({ opcode, count, ...us }) => [
          opcode,
          `${count}`,
          ...[us.meanUs, us.p50Us, us.p90Us, us.p99Us, us.maxUs].map((value) => value.toFixed(1)),
        ]),
      ),
      rows,
    ),

  'fault-list': (faults: readonly FaultReport[]) =>
    orNone(
      textTable(
        [right('number'), right('applied'), right('held now'), left('fault')],
        faults.map(({ id, applied, heldNow, spec }) => [
          `${id}`,
          `${applied}`,
          `${heldNow}`,
          faultWords(spec),
        ]),
      ),
      faults,
    ),

  locks: ({ waiting, held }: LocksReport) =>
    [
      'waiting',
      orNone(
        textTable(
          [right('number'), right('seconds'), left('wants'), right('process'), left('held by'), left('path')],
          waiting.map((lock) => [
            `${lock.id}`,
            lock.seconds.toFixed(1),
            lockWords(lock),
            `${lock.pid}`,
            lock.heldBy,
            lock.path ?? 'no name',
          ]),
        ),
        waiting,
      ),
      'held',
      orNone(
        textTable(
          [left('what'), right('process'), left('path')],
          held.map((lock) => [lockWords(lock), `${lock.pid}`, lock.path ?? 'no name']),
        ),
        held,
      ),
    ].join('\n'),

  'fault-add': ({ id, spec }: FaultReport) => `fault ${id}: ${visible(faultWords(spec))}\n`,
}

function orNone(text: string, rows: object): string {
  return Object.keys(rows).length === 0 ? 'none\n' : text
}

/** Any other answer: one line for each field. */
function viewOfObject(result: object): string {
  const entries = Object.entries(result)
  const width = Math.max(0, ...entries.map(([key]) => key.length))
  const lines = entries.map(([key, value]) => `${key.padEnd(width)}  ${visible(wordsOf(value))}\n`)
  return lines.length === 0 ? 'done\n' : lines.join('')
}

function wordsOf(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (Array.isArray(value)) return value.join(' ') || 'none'
  if (typeof value !== 'object' || value === null) return `${value}`
  return (
    Object.entries(value)
      .map(([key, one]) => `${key} ${wordsOf(one)}`)
      .join(', ') || 'none'
  )
}

/** "write lock on bytes 0 to 99". */
function lockWords({ kind, type, from, to }: LockReport): string {
  if (kind === 'flock') return `${type} flock`
  return `${type} lock on bytes ${from} ${to === null ? 'and on' : `to ${to}`}`
}

/** "2 DIRECT_IO, 1 none". */
function countsOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ')
}

import { Opcode } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import { hasName } from '../basics/has-name.js'
import { UserError } from '../config/user-error.js'
import type { TimedRequest } from '../inspect/trace-reader.js'
import { compileGlob } from '../io-mode/open-rules.js'

/** The options of `trace` that choose requests, as typed. */
export interface TraceFilters {
  readonly opcode?: string
  readonly path?: string
  readonly node?: string
  readonly handle?: string
  readonly queue?: string
  readonly pid?: string
  readonly from?: string
  readonly to?: string
  readonly errors?: true
  readonly faults?: true
  readonly slowerThan?: string
}

type Filter = (timed: TimedRequest) => boolean

/** Returns a function that returns true if a request passes every filter. Throws UserError. */
export function traceFilter(given: TraceFilters): Filter {
  const filters = [
    given.opcode && opcodeFilter(given.opcode),
    given.path && pathFilter(given.path),
    given.node && equals('--node', given.node, ({ request }) => request.nodeid),
    given.handle && equals('--handle', given.handle, ({ request }) => request.handle),
    given.queue && equals('--queue', given.queue, ({ request }) => request.queue),
    given.pid && equals('--pid', given.pid, ({ request }) => request.pid),
    given.from && timeFilter('--from', given.from, (time, from) => time >= from),
    given.to && timeFilter('--to', given.to, (time, to) => time < to),
    given.errors && (({ request }: TimedRequest) => request.error !== 0),
    given.faults && (({ request }: TimedRequest) => request.faultId !== 0),
    given.slowerThan && latencyFilter(given.slowerThan),
  ].filter((filter) => typeof filter === 'function')
  return (timed) => filters.every((filter) => filter(timed))
}

function opcodeFilter(names: string): Filter {
  const wanted = new Set(
    names.split('+').map((name): number => {
      if (!hasName(Opcode, name)) throw new UserError(`trace: no such opcode: '${name}'`)
      return Opcode[name]
    }),
  )
  return ({ request }) => wanted.has(request.opcode)
}

function pathFilter(glob: string): Filter {
  try {
    const matches = compileGlob(glob)
    return ({ request: { path } }) => path !== undefined && matches(path)
  } catch (error) {
    throw new UserError(`trace: --path ${glob}: ${messageOf(error)}`)
  }
}

function equals(option: string, text: string, of: (timed: TimedRequest) => number): Filter {
  const wanted = numberOf(option, text)
  return (timed) => of(timed) === wanted
}

function latencyFilter(text: string): Filter {
  const leastUs = numberOf('--slower-than', text)
  return ({ request }) => request.latencyUs > leastUs
}

/** Compares times as text: "12:01", "12:01:30.5", or with a date, "2026-01-31T12:01". */
function timeFilter(option: string, text: string, holds: (time: string, bound: string) => boolean): Filter {
  if (!/^(\d{4}-\d{2}-\d{2}T)?\d{2}(:\d{2}(:\d{2}(\.\d{1,3})?)?)?$/.test(text))
    throw new UserError(`trace: ${option} ${text}: not a time such as 12:01:30`)
  const start = text.includes('T') ? 0 : 'yyyy-mm-ddT'.length
  return ({ epochMs }) => holds(new Date(epochMs).toISOString().slice(start), text)
}

function numberOf(option: string, text: string): number {
  const number = Number(text)
  if (Number.isNaN(number)) throw new UserError(`trace: ${option} ${text}: not a number`)
  return number
}

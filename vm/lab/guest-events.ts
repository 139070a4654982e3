/** The trace events fuse:* of the guest's kernel, joined with the requests that the device saw. */
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import type { Guest } from '../guest/guest.js'

const TRACING = '/sys/kernel/tracing'
const EVENTS = `${TRACING}/events/fuse`
const TIMEOUT_MS = 10_000
const OPEN_TIMEOUT_MS = 60_000
/** For each processor: some thousand events. */
const BUFFER_KIB = 512

/** One event. Its time is of the guest's clock. */
export interface GuestEvent {
  readonly what: 'send' | 'end'
  readonly connection: number
  /** 0 in a send of Linux 6.12, which numbers a request after its event. */
  readonly unique: number
  /** Undefined at the end. */
  readonly opcode: number | undefined
  readonly atMs: number
}

/** The guest's side of a request, in milliseconds on the device's clock. */
export interface GuestSide {
  readonly sentMs: number
  readonly endedMs: number
}

// "     cat-151     [001] .....    10.123456: fuse_request_send: connection 41 req 34 opcode 15 (FUSE_READ) len 80"
const LINE = /\s(\d+\.\d+): fuse_request_(send|end): connection (\d+) req (\d+) (?:opcode (\d+))?/

export function parseGuestEvents(text: string): GuestEvent[] {
  return text.split('\n').flatMap((line) => {
    const [, seconds, what, connection, unique, opcode] = LINE.exec(line) ?? []
    if (seconds === undefined) return []
    return [
      {
        what: what === 'send' ? ('send' as const) : ('end' as const),
        connection: Number(connection),
        unique: Number(unique),
        opcode: opcode === undefined ? undefined : Number(opcode),
        atMs: Number(seconds) * 1000,
      },
    ]
  })
}

/**
 * Joins requests with the events of their connection, by unique. The clocks differ by an unknown time: the median of what
 * lies between the middles of both sides of a request is taken for it, so a clock that jumps once does no harm.
 */
export function joinEvents(
  requests: readonly TimedRequest[],
  events: readonly GuestEvent[],
  connection: number,
): Map<TimedRequest, GuestSide> {
  const own = events.filter((event) => event.connection === connection)
  const [sends, ends] = (['send', 'end'] as const).map((wanted) =>
    timesOf(
      requests,
      own.filter(({ what }) => what === wanted),
    ),
  ) as [Map<number, number>, Map<number, number>]
  const joined = requests.flatMap((timed) => {
    const [sentMs, endedMs] = [sends.get(timed.request.unique), ends.get(timed.request.unique)]
    return sentMs === undefined || endedMs === undefined ? [] : [{ timed, sentMs, endedMs }]
  })
  if (joined.length === 0) return new Map()
  const differences = joined.map(
    ({ timed: { epochMs, request }, sentMs, endedMs }) =>
      epochMs + request.latencyUs / 2000 - (sentMs + endedMs) / 2,
  )
  const aheadMs = differences.sort((a, b) => a - b)[differences.length >> 1]!
  return new Map(
    joined.map(({ timed, sentMs, endedMs }) => [
      timed,
      { sentMs: sentMs + aheadMs, endedMs: endedMs + aheadMs },
    ]),
  )
}

/**
 * The times of events by unique. Sends without one are given to the requests of their opcode in order, from the last of both:
 * the device's trace may have begun later than the guest's.
 */
function timesOf(requests: readonly TimedRequest[], events: readonly GuestEvent[]): Map<number, number> {
  const times = new Map(events.map(({ unique, atMs }) => [unique, atMs]))
  const nameless = events.filter(({ unique }) => unique === 0)
  for (const opcode of new Set(nameless.map(({ opcode }) => opcode))) {
    const uniques = requests
      .filter(({ request }) => request.opcode === opcode)
      .map(({ request }) => request.unique)
      .sort((a, b) => b - a)
    const sends = nameless.filter((event) => event.opcode === opcode).reverse()
    for (const [n, { atMs }] of sends.slice(0, uniques.length).entries()) times.set(uniques[n]!, atMs)
  }
  return times
}

/** The events of one guest, if its kernel has them. */
export class GuestTrace {
  private readonly connections = new Map<string, number>()

  private constructor(
    private readonly guest: Guest,
    /** False: the kernel is older than Linux 6.11, or was built without CONFIG_FTRACE. */
    readonly hasEvents: boolean,
  ) {}

  static async open(guest: Guest): Promise<GuestTrace> {
    const find = `mount -t tracefs none ${TRACING} 2>/dev/null; test -d ${EVENTS} || exit 0`
    // Switching events on and off changes the kernel's code, which takes long in an emulated machine. They stay on.
    // The default clock is each processor's own: in an emulated machine they are milliseconds apart.
    const settings = `echo mono >${TRACING}/trace_clock; echo ${BUFFER_KIB} >${TRACING}/buffer_size_kb`
    const switchOn = `${settings}; echo 1 >${EVENTS}/enable; echo there`
    const answer = await guest.output(`${find}; ${switchOn}`, { timeoutMs: OPEN_TIMEOUT_MS })
    return new GuestTrace(guest, answer.trim() === 'there')
  }

  /** Returns what was recorded since the last call. */
  async events(): Promise<GuestEvent[]> {
    return this.hasEvents
      ? parseGuestEvents(await this.ask(`cat ${TRACING}/trace; echo >${TRACING}/trace`))
      : []
  }

  /** The number that the events of a session carry: the device number of its mount. */
  async connectionOf(mountPoint: string): Promise<number> {
    if (!this.hasEvents) return 0
    const known = this.connections.get(mountPoint)
    if (known !== undefined) return known
    const connection = Number(await this.ask(`stat -c %d ${mountPoint}`))
    this.connections.set(mountPoint, connection)
    return connection
  }

  /** The share is mounted anew. */
  remounted(mountPoint: string): void {
    this.connections.delete(mountPoint)
  }

  /** A guest that is gone, or has no time, has no answer: no verdict depends on it. */
  private ask(command: string): Promise<string> {
    return this.guest.output(command, { timeoutMs: TIMEOUT_MS }).catch(() => '')
  }
}

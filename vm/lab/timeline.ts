import type { Chart } from '../report/chart.js'
import type { Cell, TimelineRequest } from './result.js'

/** A request as a bar. It uses the lowest lane that is free while it is in flight. */
interface Bar {
  kernel: string
  lane: number
  fromMs: number
  toMs: number
  kind: Kind
  title: string
  /** The guest's own side of the request, around the bar. */
  guestFromMs: number
  guestToMs: number
}

const KINDS = {
  'direct write': '#2f6fb7',
  'write by the page cache': '#e08a2c',
  read: '#3f9d6b',
  'open, release, fsync': '#a3a9b5',
} as const
type Kind = keyof typeof KINDS

const LANE_PX = 11
const MARGINS_PX = 64
/** Shortest bar, so that requests answered at once stay visible. */
const SHORTEST_PART = 1 / 400

/** Draws the requests of one case on one share, from arrival to reply, for each kernel. Undefined without requests. */
export function timelineChart(
  cells: readonly { readonly kernel: string; readonly cell: Cell }[],
): Chart | undefined {
  const shown = cells.filter(({ cell }) => cell.requests.some(({ opcode }) => isData(opcode)))
  if (shown.length === 0) return undefined
  const longestMs = Math.max(...shown.map(({ cell }) => lengthMs(cell.requests)))
  const bars = shown.flatMap(({ kernel, cell }) => barsOf(kernel, cell.requests, longestMs * SHORTEST_PART))
  const phases = shown.flatMap(({ kernel, cell }) => {
    const startMs = firstMs(cell.requests)
    return cell.phases.map(({ name, atMs }) => ({ kernel, name, atMs: Math.max(0, atMs - startMs) }))
  })
  const lanes = Math.max(...bars.map(({ lane }) => lane)) + 1
  const used = Object.entries(KINDS).filter(([kind]) => bars.some((bar) => bar.kind === kind))
  return {
    options: {
      height: shown.length * (lanes * LANE_PX + 26) + MARGINS_PX,
      marginLeft: 80,
      marginRight: 12,
      marginTop: 24,
      x: { label: 'milliseconds', domain: [0, longestMs * 1.01], grid: true },
      y: { axis: null, domain: Array.from({ length: lanes }, (_, lane) => lane), padding: 0.15 },
      fy: { axis: 'left', label: null, padding: 0.25, domain: shown.map(({ kernel }) => kernel) },
      color: {
        legend: true,
        domain: used.map(([kind]) => kind),
        range: used.map(([, colour]) => colour),
      },
    },
    marks: [
      { mark: 'frame', options: { stroke: 'currentColor', strokeOpacity: 0.15 } },
      {
        mark: 'ruleX',
        data: phases,
        options: { x: 'atMs', fy: 'kernel', strokeDasharray: '3,3', strokeOpacity: 0.6 },
      },
      {
        mark: 'text',
        data: phases,
        options: {
          x: 'atMs',
          fy: 'kernel',
          text: 'name',
          frameAnchor: 'top',
          textAnchor: 'start',
          dx: 3,
          dy: -11,
          fontSize: 10,
        },
      },
      {
        mark: 'barX',
        data: bars,
        options: {
          x1: 'guestFromMs',
          x2: 'guestToMs',
          y: 'lane',
          fy: 'kernel',
          fill: 'kind',
          fillOpacity: 0.25,
        },
      },
      {
        mark: 'barX',
        data: bars,
        options: {
          x1: 'fromMs',
          x2: 'toMs',
          y: 'lane',
          fy: 'kernel',
          fill: 'kind',
          rx: 1.5,
          title: 'title',
          tip: true,
        },
      },
    ],
  }
}

function barsOf(kernel: string, requests: readonly TimelineRequest[], shortestMs: number): Bar[] {
  const startMs = firstMs(requests)
  const freeAt: number[] = []
  return [...requests]
    .sort((a, b) => a.fromMs - b.fromMs)
    .map((request) => {
      const free = freeAt.findIndex((ms) => ms <= request.fromMs)
      const lane = free < 0 ? freeAt.length : free
      freeAt[lane] = request.toMs
      const fromMs = request.fromMs - startMs
      return {
        kernel,
        lane,
        fromMs,
        toMs: Math.max(request.toMs - startMs, fromMs + shortestMs),
        kind: kindOf(request),
        title: titleOf(request),
        guestFromMs: (request.guestFromMs ?? request.fromMs) - startMs,
        guestToMs: (request.guestToMs ?? request.toMs) - startMs,
      }
    })
}

function firstMs(requests: readonly TimelineRequest[]): number {
  return Math.min(...requests.map(({ fromMs, guestFromMs }) => guestFromMs ?? fromMs))
}

function lengthMs(requests: readonly TimelineRequest[]): number {
  return Math.max(...requests.map(({ toMs, guestToMs }) => guestToMs ?? toMs)) - firstMs(requests)
}

function isData(opcode: string): boolean {
  return opcode === 'WRITE' || opcode === 'READ'
}

function kindOf({ opcode, cached }: TimelineRequest): Kind {
  if (opcode === 'READ') return 'read'
  if (opcode !== 'WRITE') return 'open, release, fsync'
  return cached ? 'write by the page cache' : 'direct write'
}

/** How long before the device saw it the guest's kernel had sent it, and how long after the reply it was done. */
function guestWords({ fromMs, toMs, guestFromMs, guestToMs }: TimelineRequest): string {
  if (guestFromMs === undefined || guestToMs === undefined) return ''
  const [before, after] = [fromMs - guestFromMs, guestToMs - toMs].map((ms) => ms.toFixed(2))
  return `; the guest sent it ${before} ms before, and was done ${after} ms after`
}

function titleOf(request: TimelineRequest): string {
  const { opcode, offsetBytes, sizeBytes, fromMs, toMs, error } = request
  const range = isData(opcode) ? ` ${sizeBytes} bytes at ${offsetBytes}` : ''
  const outcome = error === 0 ? '' : `, error ${-error}`
  return `${opcode}${range}, ${(toMs - fromMs).toFixed(2)} ms${outcome}${guestWords(request)}`
}

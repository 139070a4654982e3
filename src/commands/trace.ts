import { readFileSync } from 'node:fs'
import { build, type Histogram } from 'hdr-histogram-js'
import picomatch from 'picomatch'
import { constants } from 'virtiofsd-ts-native'
import { UserError } from '../config/user-error.js'
import { FUSE_WRITE_CACHE, Opcode, opcodeName } from '../fuse/abi.js'
import { errnoName } from '../fuse/errno.js'
import { openFlagNames } from '../inspect/inode-activity.js'
import type { TracedRequest } from '../inspect/trace-format.js'
import { readTrace, TraceError } from '../inspect/trace-reader.js'

const usage = `Usage: virtiofsd-ts trace FILE [options]

Prints a trace that --trace recorded: a line for each request, in the order in which they were given back.

Options:
  --opcode NAMES    only these, such as WRITE+FSYNC
  --path GLOB       only requests on matching paths
  --errors          only requests that failed
  --slower-than US  only requests that took longer than so many microseconds
  --summary         counts and latencies by opcode instead of lines
  --json            lines (or the summary) as JSON
`

interface TraceArguments {
  readonly file: string
  readonly wants: (request: TracedRequest) => boolean
  readonly summary: boolean
  readonly json: boolean
}

/** `virtiofsd-ts trace`. Throws UserError. */
export function runTrace(args: readonly string[]): void {
  if (args.length === 0 || args.includes('--help') || args.includes('-h')) {
    process.stdout.write(usage)
    return
  }
  const { file, wants, summary, json } = parseArguments(args)
  const { epochMs, requests } = open(file)
  try {
    if (summary) printSummary(requests, wants, json)
    else for (const request of requests) if (wants(request)) printRequest(request, epochMs, json)
  } catch (error) {
    if (!(error instanceof TraceError)) throw error
    throw new UserError(`trace: ${file}: ${error.message}`)
  }
}

function open(file: string): ReturnType<typeof readTrace> {
  try {
    return readTrace(readFileSync(file))
  } catch (error) {
    if (error instanceof TraceError) throw new UserError(`trace: ${file}: ${error.message}`)
    throw new UserError(`trace: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}

function parseArguments(args: readonly string[]): TraceArguments {
  const filters: ((request: TracedRequest) => boolean)[] = []
  const files: string[] = []
  const flags = new Set<string>()
  for (let n = 0; n < args.length; n++) {
    const [name, inline] = args[n].split(/=(.*)/s)
    const value = () => {
      const given = inline ?? args[++n]
      if (given === undefined) throw new UserError(`trace: ${name} needs a value`)
      return given
    }
    switch (name) {
      case '--opcode':
        filters.push(opcodeFilter(value()))
        break
      case '--path':
        filters.push(pathFilter(value()))
        break
      case '--slower-than':
        filters.push(latencyFilter(value()))
        break
      case '--errors':
        filters.push(({ error }) => error !== 0)
        break
      case '--summary':
      case '--json':
        flags.add(name)
        break
      default:
        if (name.startsWith('-')) throw new UserError(`trace: unknown option '${name}'`)
        files.push(args[n])
    }
  }
  const [file, extra] = files
  if (file === undefined) throw new UserError('trace: which file?')
  if (extra !== undefined) throw new UserError(`trace: unexpected argument '${extra}'`)
  return {
    file,
    wants: (request) => filters.every((filter) => filter(request)),
    summary: flags.has('--summary'),
    json: flags.has('--json'),
  }
}

function opcodeFilter(names: string): (request: TracedRequest) => boolean {
  const wanted = new Set(
    names.split('+').map((name) => {
      if (!Object.hasOwn(Opcode, name)) throw new UserError(`trace: no such opcode: '${name}'`)
      return Opcode[name as keyof typeof Opcode] as number
    }),
  )
  return ({ opcode }) => wanted.has(opcode)
}

function pathFilter(glob: string): (request: TracedRequest) => boolean {
  const matches = picomatch(glob, { dot: true })
  return ({ path }) => path !== undefined && matches(path)
}

function latencyFilter(text: string): (request: TracedRequest) => boolean {
  const leastUs = Number(text)
  if (Number.isNaN(leastUs)) throw new UserError(`trace: --slower-than ${text}: not a number`)
  return ({ latencyUs }) => latencyUs > leastUs
}

function printRequest(request: TracedRequest, epochMs: number, json: boolean): void {
  const time = new Date(epochMs + request.seenMs).toISOString()
  if (json) {
    process.stdout.write(`${JSON.stringify({ time, ...request, opcode: opcodeName(request.opcode) })}\n`)
    return
  }
  const words = [
    time.slice(11, 23),
    `q${request.queue}`,
    opcodeName(request.opcode).padEnd(12),
    `${request.latencyUs.toFixed(1).padStart(9)} us`,
    (request.error === 0 ? 'ok' : errnoName(-request.error)).padEnd(7),
    request.path === undefined ? `node ${request.nodeid}` : request.path || '.',
    ...detailsOf(request),
  ]
  process.stdout.write(`${words.join('  ')}\n`)
}

function detailsOf(request: TracedRequest): string[] {
  const { opcode, handle, offsetBytes, sizeBytes, flags, openFlags, overlap } = request
  const details: string[] = []
  if (handle !== 0) details.push(`fh=${handle}`)
  if (opcode === Opcode.READ || opcode === Opcode.WRITE) details.push(`${sizeBytes}@${offsetBytes}`)
  if (flags !== 0) details.push(guestFlagNames(flags))
  if (opcode === Opcode.WRITE && (request.detailFlags & FUSE_WRITE_CACHE) !== 0) details.push('WRITE_CACHE')
  if (openFlags !== 0) details.push(`-> ${openFlagNames(openFlags)}`)
  if (overlap > 1) details.push(`overlap=${overlap}`)
  return details
}

const namedFlags = [
  'O_APPEND',
  'O_CREAT',
  'O_DIRECT',
  'O_DSYNC',
  'O_EXCL',
  'O_NOATIME',
  'O_NONBLOCK',
  'O_TRUNC',
] as const
const accessNames = ['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE']

/** Open flags by name: "O_RDWR|O_DIRECT". */
export function guestFlagNames(flags: number): string {
  const set = namedFlags.filter((name) => (flags & constants[name]) === constants[name])
  return [accessNames[flags & constants.O_ACCMODE], ...set].join('|')
}

interface Row {
  readonly opcode: string
  readonly count: number
  readonly errors: number
  readonly p50Us: number
  readonly p99Us: number
  readonly maxUs: number
}

const LONGEST_NS = 3_600_000_000_000

function printSummary(
  requests: Iterable<TracedRequest>,
  wants: (request: TracedRequest) => boolean,
  json: boolean,
): void {
  const histograms = new Map<number, { latency: Histogram; errors: number }>()
  for (const request of requests) {
    if (!wants(request)) continue
    let entry = histograms.get(request.opcode)
    if (entry === undefined) {
      entry = {
        latency: build({ highestTrackableValue: LONGEST_NS, numberOfSignificantValueDigits: 2 }),
        errors: 0,
      }
      histograms.set(request.opcode, entry)
    }
    entry.latency.recordValue(Math.max(1, Math.round(request.latencyUs * 1000)))
    if (request.error !== 0) entry.errors++
  }
  const rows: Row[] = [...histograms]
    .map(([opcode, { latency, errors }]) => ({
      opcode: opcodeName(opcode),
      count: latency.totalCount,
      errors,
      p50Us: latency.getValueAtPercentile(50) / 1000,
      p99Us: latency.getValueAtPercentile(99) / 1000,
      maxUs: latency.maxValue / 1000,
    }))
    .sort((a, b) => b.count - a.count)
  process.stdout.write(json ? `${JSON.stringify(rows)}\n` : tableOf(rows))
}

function tableOf(rows: readonly Row[]): string {
  const head = ['opcode', 'count', 'errors', 'p50 us', 'p99 us', 'max us']
  const cells = rows.map((row) => [
    row.opcode,
    `${row.count}`,
    `${row.errors}`,
    ...[row.p50Us, row.p99Us, row.maxUs].map((us) => us.toFixed(1)),
  ])
  const widths = head.map((title, n) => Math.max(title.length, ...cells.map((line) => line[n].length)))
  return [head, ...cells]
    .map((line) =>
      line.map((cell, n) => (n === 0 ? cell.padEnd(widths[n]) : cell.padStart(widths[n]))).join('  '),
    )
    .map((line) => `${line}\n`)
    .join('')
}

import type { Command } from 'commander'
import { opcodeName, visibleJson } from 'virtio-fs-ts/protocol'
import { codeOf } from '../basics/errors.js'
import { hasName } from '../basics/has-name.js'
import { UserError } from '../config/user-error.js'
import { readTraceFile, type TimedRequest, TraceError } from '../inspect/trace-reader.js'
import { parseArguments, subcommand } from './subcommand.js'
import { type TraceFilters, traceFilter } from './trace-filter.js'
import { requestLine } from './trace-line.js'
import { groupings, summarise, summaryTable } from './trace-summary.js'

const after = `Requests come in the order in which they were given back, one a line:
  time  queue  opcode  latency  reply (ok, or the error, and its bytes)  node and path  details

When FILE reaches --trace-size, it is renamed to FILE.1 and a new FILE begins. Name both, FILE.1 FILE, to see both.`

interface TraceOptions extends TraceFilters {
  summary?: true
  by: string
  json?: true
}

function makeCommand(): Command {
  return subcommand('virtiofsd-ts trace', 'Prints, filters and sums up what --trace recorded.', after)
    .option('--opcode <names>', 'only these, such as WRITE+FSYNC')
    .option('--path <glob>', 'only requests on matching paths')
    .option('--node <nodeid>', 'only requests on this inode')
    .option('--handle <handle>', 'only requests on this open file')
    .option('--queue <number>', 'only requests of this queue; 0 is hiprio')
    .option('--pid <pid>', "only requests of this thread in the guest; 0 is the guest's kernel")
    .option('--from <time>', 'only requests seen at or after this time of day, UTC, as the lines show it')
    .option('--to <time>', 'only requests seen before this time')
    .option('--errors', 'only requests that failed')
    .option('--faults', 'only requests that a fault was applied to')
    .option('--slower-than <us>', 'only requests that took longer than so many microseconds')
    .option('--summary', 'counts and latencies instead of requests')
    .option('--by <key>', `what the summary groups by: ${Object.keys(groupings).join(', ')}`, 'opcode')
    .option('--json', 'a JSON object for each request, or the summary as JSON')
    .argument('<file...>')
}

/** `virtiofsd-ts trace`. Throws UserError. */
export function runTrace(args: readonly string[]): void {
  const command = makeCommand()
  if (!parseArguments(command, args)) return
  const { summary, by, json, ...filters } = command.opts<TraceOptions>()
  if (!hasName(groupings, by))
    throw new UserError(`trace: --by is one of ${Object.keys(groupings).join(', ')}`)
  const wanted = select(command.args, traceFilter(filters))
  if (summary) {
    const rows = summarise(wanted, by)
    process.stdout.write(json ? `${visibleJson(JSON.stringify(rows))}\n` : summaryTable(rows, by))
  } else {
    for (const timed of wanted) process.stdout.write(json ? jsonLine(timed) : `${requestLine(timed)}\n`)
  }
}

function* select(files: readonly string[], wants: (timed: TimedRequest) => boolean): Generator<TimedRequest> {
  for (const file of files) {
    try {
      for (const timed of readTraceFile(file)) if (wants(timed)) yield timed
    } catch (error) {
      if (error instanceof TraceError) throw new UserError(`trace: ${file}: ${error.message}`)
      const code = codeOf(error)
      if (code === 'ENOENT')
        throw new UserError(`trace: ${file}: no such file: the device makes it at the first request`)
      if (code === undefined) throw error
      throw new UserError(`trace: ${file} cannot be read (${code})`)
    }
  }
}

function jsonLine({ request, epochMs }: TimedRequest): string {
  const time = new Date(epochMs).toISOString()
  const json = JSON.stringify({ time, ...request, opcode: opcodeName(request.opcode) })
  return `${visibleJson(json)}\n`
}

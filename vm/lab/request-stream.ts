import { Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import { requestWords } from '../../src/commands/trace-line.js'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'

/** Requests that move data or open files. The number of requests for names and attributes depends on the machine's speed. */
const COMPARED: ReadonlySet<number> = new Set([
  Opcode.OPEN,
  Opcode.CREATE,
  Opcode.READ,
  Opcode.WRITE,
  Opcode.SETATTR,
  Opcode.FSYNC,
  Opcode.FLUSH,
  Opcode.RELEASE,
  Opcode.LSEEK,
  Opcode.FALLOCATE,
  Opcode.COPY_FILE_RANGE,
  Opcode.COPY_FILE_RANGE_64,
  Opcode.UNLINK,
  Opcode.RENAME,
  Opcode.RENAME2,
])
/** Longer streams are not compared. */
const MOST_REQUESTS = 400

/**
 * The requests on a case's files as text that two runs of one kernel share, without times and session numbers. Requests in
 * flight together get a fixed order. Undefined: too many to compare.
 */
export function streamOf(requests: readonly TimedRequest[], file: string): string[] | undefined {
  const own = requests
    .map(({ request }) => request)
    .filter(({ opcode, path }) => COMPARED.has(opcode) && path?.startsWith(file) === true)
    .sort((a, b) => a.seenMs - b.seenMs)
  if (own.length > MOST_REQUESTS) return undefined
  const lines: string[] = []
  let together: string[] = []
  let endMs = Number.NEGATIVE_INFINITY
  for (const request of own) {
    if (request.seenMs >= endMs) lines.push(...together.splice(0).sort())
    const name = request.path!.slice(file.length)
    together.push(
      [opcodeName(request.opcode), ...(name === '' ? [] : [name]), ...requestWords(request)].join(' '),
    )
    endMs = Math.max(endMs, request.seenMs + request.latencyUs / 1000)
  }
  together = together.sort()
  return [...lines, ...together]
}

import { Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import { requestWords } from '../../src/commands/trace-line.js'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'

/** What moves data and opens files. How often a guest asks for names and attributes depends on how fast the machine is. */
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
/** A stream of more requests is not compared. */
const MOST_REQUESTS = 400

/**
 * The requests on a case's files, in words that two runs of one kernel have in common: without times and numbers of the
 * session. Those that were in flight together come in an order of their own. Undefined: too many to compare.
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

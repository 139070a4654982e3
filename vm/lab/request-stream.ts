import { Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import { requestWords } from '../../src/commands/trace-line.js'
import type { TracedRequest } from '../../src/inspect/trace-format.js'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import type { Race } from './races.js'

/** Requests that an operation asks for. The number of LOOKUPs and GETATTRs depends on the machine's speed: they expire. */
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
  Opcode.FSYNCDIR,
  Opcode.OPENDIR,
  Opcode.READDIR,
  Opcode.READDIRPLUS,
  Opcode.RELEASEDIR,
  Opcode.SETXATTR,
  Opcode.REMOVEXATTR,
  Opcode.MKNOD,
  Opcode.MKDIR,
  Opcode.SYMLINK,
  Opcode.LINK,
  Opcode.UNLINK,
  Opcode.RMDIR,
  Opcode.RENAME,
  Opcode.RENAME2,
])
const OPENS: ReadonlySet<number> = new Set([Opcode.OPEN, Opcode.CREATE])
/** Longer streams are not compared. */
const MOST_REQUESTS = 400

/**
 * The requests on a case's files as text that two runs of one kernel share, without times and session numbers. Handles are
 * numbered in the order of their opens; the first has no number. Requests stand in the order of their arrival, those of one
 * opcode whose operations race in a fixed order. Undefined: too many to compare.
 */
export function streamOf(
  requests: readonly TimedRequest[],
  file: string,
  races: readonly Race[] = [],
): string[] | undefined {
  const own = requests
    .filter(({ request: { opcode, path } }) => COMPARED.has(opcode) && path?.startsWith(file) === true)
    .sort((a, b) => a.request.seenMs - b.request.seenMs)
  if (own.length > MOST_REQUESTS) return undefined
  const handles = numberHandles(own, races)
  const texts = own.map(({ request }) =>
    textOf(request, request.path!.slice(file.length), handles.get(request.handle) ?? 1),
  )
  for (const race of races) orderRace(own, texts, race)
  return texts
}

function textOf(request: TracedRequest, name: string, handle: number): string {
  const where = [...(name === '' ? [] : [name]), ...(handle === 1 ? [] : [`#${handle}`])]
  return [opcodeName(request.opcode), ...where, ...requestWords(request)].join(' ')
}

/** Opens that race have no order, so their handles share a number. */
function numberHandles(own: readonly TimedRequest[], races: readonly Race[]): Map<number, number> {
  const numbers = new Map<number, number>()
  const raceNumbers = new Map<Race, number>()
  let last = 0
  for (const { request, epochMs } of own) {
    if (request.handle === 0 || !OPENS.has(request.opcode)) continue
    const race = races.find(({ fromMs, toMs }) => epochMs >= fromMs && epochMs <= toMs)
    const number = (race && raceNumbers.get(race)) ?? ++last
    if (race !== undefined) raceNumbers.set(race, number)
    numbers.set(request.handle, number)
  }
  return numbers
}

/** Sorts the requests of each opcode among the places that they have in a race. */
function orderRace(own: readonly TimedRequest[], texts: string[], { fromMs, toMs }: Race): void {
  const places = own.flatMap(({ epochMs }, at) => (epochMs >= fromMs && epochMs <= toMs ? [at] : []))
  for (const opcode of new Set(places.map((at) => own[at]!.request.opcode))) {
    const its = places.filter((at) => own[at]!.request.opcode === opcode)
    const sorted = its.map((at) => texts[at]!).sort()
    for (const [n, at] of its.entries()) texts[at] = sorted[n]!
  }
}

/** Pages that are read into the cache while a direct write to them is in flight. */
import { constants } from 'node:fs'
import type { LabCase, Observation } from '../case.js'
import {
  dropsPagesAfterAppend,
  dropsPagesAfterAsyncWrite,
  dropsPagesAfterWrite,
  type GuestFacts,
} from '../kernel-rules.js'
import type { Scene } from '../scene.js'

const { O_APPEND, O_DIRECT, O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const NEW = 2

/** What the writer does, and where in a file of three and a half pages. */
interface Write {
  readonly flags: number
  readonly operation: 'write' | 'aio'
  readonly offsetBytes: number
  readonly sizeBytes: number
}

const FILE_BYTES = 3 * PAGE + PAGE / 2
/** Touches the first three pages. */
const INSIDE = { offsetBytes: 100, sizeBytes: 2 * PAGE }
const SYNCHRONOUS: Write = { ...INSIDE, flags: O_RDWR, operation: 'write' }
const ASYNCHRONOUS: Write = { ...INSIDE, flags: O_RDWR | O_DIRECT, operation: 'aio' }
const APPENDING: Write = {
  flags: O_RDWR | O_APPEND,
  operation: 'write',
  offsetBytes: FILE_BYTES,
  sizeBytes: 100,
}

/** Holds the WRITE, reads its pages through a mapping, lets the WRITE go, and reads its bytes there again. */
async function peekDuring(scene: Scene, write: Write): Promise<Observation> {
  const { flags, operation, offsetBytes, sizeBytes } = write
  const file = scene.makeFile(FILE_BYTES, FILL)
  const [mapper, writer] = [scene.addActor(), scene.addActor()]
  await mapper.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await writer.do(`open f ${flags} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${4 * PAGE} shared r`)
  await scene.holdWrites(file, 2)
  await writer.start(`${operation} f ${sizeBytes} ${offsetBytes} ${NEW}`)
  await scene.rest(writer)
  await mapper.do(`peek m ${4 * PAGE} 0`)
  await scene.holdNothing()
  const [outcome] = await writer.join()
  if (outcome === undefined || 'error' in outcome) throw new Error(`it ended with ${JSON.stringify(outcome)}`)
  scene.model(file).fill(offsetBytes, sizeBytes, NEW)
  // Old pages may stay in the guest: that is the question.
  scene.model(file).comparesGuest = false
  const seen = await mapper.do(`peek m ${sizeBytes} ${offsetBytes}`)
  const names: Readonly<Record<string, string>> = {
    [`${NEW}x${sizeBytes}`]: 'new data',
    [`${offsetBytes < FILE_BYTES ? FILL : 0}x${sizeBytes}`]: 'old data',
  }
  return { observed: names[seen] ?? 'both', evidence: `bytes: ${seen}` }
}

/** A rule for kernels that can map the file. Undefined where the release does not say. */
const after =
  (drops: (facts: GuestFacts) => boolean | undefined) =>
  (facts: GuestFacts): string | undefined => {
    const does = facts.allowMmap ? drops(facts) : undefined
    return does === undefined ? undefined : does ? 'new data' : 'old data'
  }

export const readDuringWriteCases: readonly LabCase[] = [
  {
    name: 'mmap/peek-during-write',
    question: 'pages read through a mapping during a direct write: their bytes after the write',
    shares: ['mmap', 'parallel+mmap'],
    expected: after(dropsPagesAfterWrite),
    run: (scene) => peekDuring(scene, SYNCHRONOUS),
  },
  {
    name: 'mmap/peek-during-aio',
    question: 'pages read through a mapping during an io_submit with O_DIRECT: their bytes after it',
    shares: ['mmap', 'parallel+mmap'],
    expected: after(dropsPagesAfterAsyncWrite),
    run: (scene) => peekDuring(scene, ASYNCHRONOUS),
  },
  {
    name: 'mmap/peek-during-append',
    question: 'the last page read through a mapping during a direct O_APPEND: the bytes that were appended',
    shares: ['mmap', 'parallel+mmap'],
    expected: after(dropsPagesAfterAppend),
    run: (scene) => peekDuring(scene, APPENDING),
  },
]

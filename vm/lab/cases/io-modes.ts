import { constants } from 'node:fs'
import type { Actor } from '../actor.js'
import { atOnce, type LabCase, type Observation, WRITERS } from '../case.js'
import { type GuestFacts, hasIoModes, writesInParallel, writesInParallelWhenCached } from '../kernel-rules.js'
import type { Scene } from '../scene.js'
import { BLOCK_BYTES, describeTogether, describeWaits, type Together, writeTogether } from '../writers.js'

const { O_RDONLY, O_RDWR } = constants
const FILE_BYTES = WRITERS * BLOCK_BYTES
/** Between the figures of a case's phases. */
const THEN = ' > '

/** A writer with WRITERS threads, and a reader that changes between phases what it does with the file. */
class Stage {
  private readonly seen: { name: string; together: Together }[] = []

  private constructor(
    private readonly scene: Scene,
    readonly file: string,
    readonly writer: Actor,
    readonly reader: Actor,
  ) {}

  static async set(scene: Scene): Promise<Stage> {
    const file = scene.makeFile(FILE_BYTES, 1)
    const stage = new Stage(scene, file, scene.addActor(), scene.addActor())
    await stage.writer.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
    return stage
  }

  /** Writers write together; how many of them are in flight is the figure of this phase. */
  async write(name: string): Promise<void> {
    this.scene.beginPhase(name)
    this.seen.push({ name, together: await writeTogether(this.scene, this.writer, 'f', this.file) })
  }

  get observation(): Observation {
    return {
      observed: this.seen.map(({ together }) => together.highest).join(THEN),
      evidence: this.seen.map(({ name, together }) => `${name}: ${describeTogether(together)}`).join(' | '),
    }
  }
}

/** A second process maps the file, unmaps it, and closes it. */
async function mapped(scene: Scene): Promise<Observation> {
  const stage = await Stage.set(scene)
  await stage.write('before')
  await stage.reader.do(`open f ${O_RDWR} ${scene.guestPath(stage.file)}`)
  await stage.reader.do(`map m f ${FILE_BYTES} shared rw`)
  await stage.write('mapped')
  await stage.reader.do('unmap m')
  await stage.write('unmapped')
  await stage.reader.do('close f')
  await stage.write('closed')
  return stage.observation
}

/** A database's writer beside a reader that maps the file, reads it, and leaves without a word. */
async function database(scene: Scene): Promise<Observation> {
  const stage = await Stage.set(scene)
  await stage.write('alone')
  await stage.reader.do(`open f ${O_RDONLY} ${scene.guestPath(stage.file)}`)
  await stage.reader.do(`map m f ${FILE_BYTES} shared r`)
  await stage.reader.do(`peek m ${FILE_BYTES} 0`)
  await stage.write('reader is there')
  await stage.reader.leave()
  await stage.write('reader has left')
  return stage.observation
}

/** A second process opens the file read-only, which a rule answers without FOPEN_DIRECT_IO, and closes it. */
async function cachedOpen(scene: Scene): Promise<Observation> {
  const stage = await Stage.set(scene)
  await stage.write('before')
  await stage.reader.do(`open f ${O_RDONLY} ${scene.guestPath(stage.file)}`)
  await stage.reader.do(`read f ${FILE_BYTES} 0`)
  await stage.write('open')
  await stage.reader.do('close f')
  await stage.write('closed')
  return stage.observation
}

/** Writes are held in flight; whether the last of another process's operations on the file then waits for them. */
async function waitsForWrites(
  scene: Scene,
  operationsOn: (path: string) => readonly string[],
): Promise<Observation> {
  const { writer, reader, file } = await Stage.set(scene)
  const operations = operationsOn(scene.guestPath(file))
  for (const operation of operations.slice(0, -1)) await reader.do(operation)
  const last = operations.at(-1)!
  await scene.resetCounts()
  await scene.holdWrites(file, WRITERS + 1)
  scene.beginPhase('writes are held')
  for (let n = 0; n < WRITERS; n++) await writer.start(`write f ${BLOCK_BYTES} ${n * BLOCK_BYTES} 2`)
  await writer.settle()
  const inFlight = await scene.writesInFlight(file)
  scene.beginPhase(last.split(' ')[0]!)
  await reader.start(last)
  const { ended, waiting } = await reader.settle()
  scene.beginPhase('writes are let go')
  await scene.holdNothing()
  const [outcome] = await reader.join()
  await writer.join()
  if (outcome === undefined || 'error' in outcome) throw new Error(`it ended with ${JSON.stringify(outcome)}`)
  const end = ended === 0 ? `${describeWaits(waiting)}, until they were let go` : 'it ended before they did'
  return {
    observed: ended === 0 ? 'waits' : 'does not wait',
    evidence: `${inFlight} writes in flight; ${end}`,
  }
}

const phases = (facts: GuestFacts, cached: readonly boolean[]): string =>
  cached
    .map((isCached) => atOnce(isCached ? writesInParallelWhenCached(facts) : writesInParallel(facts)))
    .join(THEN)

/** Writes that hold the inode's lock together are what caching waits for. */
const waits = (facts: GuestFacts): string =>
  hasIoModes(facts) && writesInParallel(facts) ? 'waits' : 'does not wait'

export const ioModeCases: readonly LabCase[] = [
  {
    name: 'io-mode/mapped',
    question: 'in flight of 8: before > mapped shared > unmapped > that file closed',
    shares: ['parallel+mmap'],
    expected: (facts) => (facts.allowMmap ? phases(facts, [false, true, true, false]) : undefined),
    run: mapped,
  },
  {
    name: 'io-mode/database',
    question: 'in flight of 8: alone > a reader has mapped the file > it has left',
    shares: ['parallel+mmap'],
    expected: (facts) => (facts.allowMmap ? phases(facts, [false, true, false]) : undefined),
    run: database,
  },
  {
    name: 'io-mode/mmap-waits',
    question: 'the first mmap, while parallel writes are in flight',
    shares: ['parallel+mmap'],
    expected: (facts) => (facts.allowMmap ? waits(facts) : undefined),
    run: (scene) =>
      waitsForWrites(scene, (path) => [`open f ${O_RDWR} ${path}`, `map m f ${FILE_BYTES} shared rw`]),
  },
  {
    name: 'io-mode/cached-open',
    question: 'in flight of 8: before > opened without DIRECT_IO by a rule > that closed',
    shares: ['parallel', 'parallel+mmap'],
    expected: (facts) => phases(facts, [false, true, false]),
    run: cachedOpen,
  },
  {
    name: 'io-mode/cached-open-waits',
    question: 'an open without DIRECT_IO, while parallel writes are in flight',
    shares: ['parallel', 'parallel+mmap'],
    expected: waits,
    run: (scene) => waitsForWrites(scene, (path) => [`open f ${O_RDONLY} ${path}`]),
  },
]

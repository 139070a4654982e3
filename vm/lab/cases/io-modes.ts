import { constants } from 'node:fs'
import type { Actor } from '../actor.js'
import { atOnce, type LabCase, type Observation, WRITERS } from '../case.js'
import { type GuestFacts, hasIoModes, writesInParallel, writesInParallelWhenCached } from '../kernel-rules.js'
import type { Scene } from '../scene.js'
import {
  BLOCK_BYTES,
  describeTogether,
  describeWaits,
  finishTogether,
  type Together,
  writeTogether,
} from '../writers.js'

const { O_DIRECT, O_RDONLY, O_RDWR } = constants
const FILE_BYTES = WRITERS * BLOCK_BYTES
/** Separates the figures of a case's phases. */
const THEN = ' > '

/** A writer with WRITERS threads, and a reader that uses the file differently in each phase. */
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

  /** The writers write together. The figure of this phase is the number of writes in flight. */
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

/** A second process maps the file twice, unmaps it, and closes it. */
async function mapped(scene: Scene): Promise<Observation> {
  const stage = await Stage.set(scene)
  await stage.write('before')
  await stage.reader.do(`open f ${O_RDWR} ${scene.guestPath(stage.file)}`)
  for (const map of ['m', 'n']) await stage.reader.do(`map ${map} f ${FILE_BYTES} shared rw`)
  await stage.write('mapped')
  for (const map of ['m', 'n']) await stage.reader.do(`unmap ${map}`)
  await stage.write('unmapped')
  await stage.reader.do('close f')
  await stage.write('closed')
  return stage.observation
}

/** A database's writer, and a reader that maps the file, reads it and exits without cleaning up. */
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

/** A second process opens the file read-only and closes it. A rule answers that open without FOPEN_DIRECT_IO. */
async function cachedOpen(scene: Scene, flags: number): Promise<Observation> {
  const stage = await Stage.set(scene)
  await stage.write('before')
  await stage.reader.do(`open f ${flags} ${scene.guestPath(stage.file)}`)
  await stage.reader.do(`read f ${FILE_BYTES} 0`)
  await stage.write('open')
  await stage.reader.do('close f')
  await stage.write('closed')
  return stage.observation
}

/** The inode stays in caching mode until its last cached open is closed. */
async function twoCachedOpens(scene: Scene): Promise<Observation> {
  const stage = await Stage.set(scene)
  for (const name of ['f', 'g']) {
    await stage.reader.do(`open ${name} ${O_RDONLY} ${scene.guestPath(stage.file)}`)
    await stage.reader.do(`read ${name} ${FILE_BYTES} 0`)
  }
  await stage.write('two open')
  await stage.reader.do('close f')
  await stage.write('one open')
  await stage.reader.do('close g')
  await stage.write('closed')
  return stage.observation
}

/** A private mapping of a direct file does not put it into caching mode. */
async function mappedPrivately(scene: Scene): Promise<Observation> {
  const stage = await Stage.set(scene)
  await stage.reader.do(`open f ${O_RDWR} ${scene.guestPath(stage.file)}`)
  await stage.reader.do(`map m f ${FILE_BYTES} private rw`)
  await stage.reader.do(`peek m ${FILE_BYTES} 0`)
  await stage.write('mapped privately')
  return stage.observation
}

/** Sets O_DIRECT on an open file with fcntl(F_SETFL), and clears it. */
async function setODirect(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(BLOCK_BYTES, 1)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  const reads: number[] = []
  for (const flags of [O_RDWR, O_RDWR | O_DIRECT, O_RDWR]) {
    await actor.do(`setfl f ${flags}`)
    const { reads: before } = await scene.counts(file)
    for (let n = 0; n < 2; n++) await actor.do(`read f ${BLOCK_BYTES} 0`)
    reads.push((await scene.counts(file)).reads - before)
  }
  await actor.do(`setfl f ${O_RDWR | O_DIRECT}`)
  await actor.do(`write f ${BLOCK_BYTES} 0 2`)
  scene.model(file).fill(0, BLOCK_BYTES, 2)
  scene.model(file).expectWrite(0, BLOCK_BYTES)
  const isThere = scene.readFile(file).every((byte) => byte === 2)
  return {
    observed: reads.join(THEN),
    evidence: `a write with O_DIRECT ${isThere ? 'is' : 'is not'} on the host`,
  }
}

/** Holds writes in flight, and checks if the last operation of another process on the file waits for them. */
async function waitsForWrites(
  scene: Scene,
  operationsOn: (path: string) => readonly string[],
  writers = WRITERS,
): Promise<Observation> {
  const { writer, reader, file } = await Stage.set(scene)
  const operations = operationsOn(scene.guestPath(file))
  for (const operation of operations.slice(0, -1)) await reader.do(operation)
  const last = operations.at(-1)!
  await scene.resetCounts()
  await scene.holdWrites(file, writers + 1)
  scene.beginPhase('writes are held')
  for (let n = 0; n < writers; n++) {
    await writer.start(`write f ${BLOCK_BYTES} ${n * BLOCK_BYTES} 2`)
    scene.model(file).fill(n * BLOCK_BYTES, BLOCK_BYTES, 2)
    scene.model(file).expectWrite(n * BLOCK_BYTES, BLOCK_BYTES)
  }
  await scene.rest(writer)
  const inFlight = await scene.writesInFlight(file)
  scene.beginPhase(last.split(' ')[0]!)
  await reader.start(last)
  const { ended, waiting } = await scene.rest(reader)
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

/** A mapping waits for the writes in flight. Later writers have to wait for the mapping. */
async function lateWriters(scene: Scene): Promise<Observation> {
  const { writer, reader, file } = await Stage.set(scene)
  const startWriters = async (byte: number): Promise<void> => {
    for (let n = 0; n < WRITERS; n++) {
      await writer.start(`write f ${BLOCK_BYTES} ${n * BLOCK_BYTES} ${byte}`)
      scene.model(file).fill(n * BLOCK_BYTES, BLOCK_BYTES, byte)
      scene.model(file).expectWrite(n * BLOCK_BYTES, BLOCK_BYTES)
    }
    await scene.rest(writer)
  }
  await reader.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await scene.resetCounts()
  await scene.holdWrites(file, 4 * WRITERS)
  await startWriters(2)
  await reader.start(`map m f ${FILE_BYTES} shared rw`)
  await scene.rest(reader)
  await startWriters(2)
  const inFlight = await scene.writesInFlight(file)
  await scene.holdNothing()
  await reader.join()
  await writer.join()
  return {
    observed: `${inFlight}`,
    evidence: `of ${2 * WRITERS} writers, the last ${WRITERS} after the mmap`,
  }
}

/** Writers wait for a chmod in flight. Meanwhile the file is opened without DIRECT_IO. */
async function openedMeanwhile(scene: Scene): Promise<Observation> {
  const { writer, reader, file } = await Stage.set(scene)
  const other = scene.addActor()
  await other.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await scene.resetCounts()
  await scene.hold(file, 'SETATTR', 2)
  await scene.holdWrites(file, WRITERS)
  await other.start(`truncate f ${FILE_BYTES}`)
  await scene.rest(other)
  for (let n = 0; n < WRITERS; n++) {
    await writer.start(`write f ${BLOCK_BYTES} ${n * BLOCK_BYTES} 2`)
    scene.model(file).fill(n * BLOCK_BYTES, BLOCK_BYTES, 2)
    scene.model(file).expectWrite(n * BLOCK_BYTES, BLOCK_BYTES)
  }
  await scene.rest(writer)
  await reader.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
  await scene.release()
  await other.join()
  const together = await finishTogether(scene, writer, file)
  return { observed: `${together.highest}`, evidence: describeTogether(together) }
}

const phases = (facts: GuestFacts, cached: readonly boolean[]): string =>
  cached
    .map((isCached) => atOnce(isCached ? writesInParallelWhenCached(facts) : writesInParallel(facts)))
    .join(THEN)

/** Caching waits for writes that share the inode's lock. */
const waits = (facts: GuestFacts): string =>
  hasIoModes(facts) && writesInParallel(facts) ? 'waits' : 'does not wait'

export const ioModeCases: readonly LabCase[] = [
  {
    name: 'io-mode/mapped',
    question: 'writes in flight, of 8: before > file mapped shared > unmapped > mapped file closed',
    shares: ['parallel+mmap'],
    expected: (facts) => (facts.allowMmap ? phases(facts, [false, true, true, false]) : undefined),
    run: mapped,
  },
  {
    name: 'io-mode/database',
    question: 'writes in flight, of 8: no reader > a reader has mapped the file > the reader has left',
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
    question: 'writes in flight, of 8: before > a rule opens the file without DIRECT_IO > that open closed',
    shares: ['parallel', 'parallel+mmap'],
    expected: (facts) => phases(facts, [false, true, false]),
    run: (scene) => cachedOpen(scene, O_RDONLY),
  },
  {
    // fcntl could clear O_DIRECT on such a file at any time.
    name: 'io-mode/cached-open-o-direct',
    question: "writes in flight, of 8: a rule's open without DIRECT_IO has the guest's O_DIRECT",
    shares: ['parallel', 'parallel+mmap'],
    expected: (facts) => phases(facts, [false, true, false]),
    run: (scene) => cachedOpen(scene, O_RDONLY | O_DIRECT),
  },
  {
    name: 'io-mode/cached-opens',
    question: 'writes in flight, of 8: two opens without DIRECT_IO > one closed > both closed',
    shares: ['parallel', 'parallel+mmap'],
    expected: (facts) => phases(facts, [true, true, false]),
    run: twoCachedOpens,
  },
  {
    name: 'io-mode/cached-open-meanwhile',
    question: 'writes in flight, of 8: the file is opened without DIRECT_IO while they wait for the lock',
    shares: ['parallel', 'parallel+mmap'],
    expected: (facts) => phases(facts, [true]),
    run: openedMeanwhile,
  },
  {
    name: 'io-mode/late-writers',
    question: 'writes in flight, of 16: a mapping waits for the first 8',
    shares: ['parallel+mmap'],
    expected: (facts) => (facts.allowMmap && hasIoModes(facts) ? '8' : undefined),
    run: lateWriters,
  },
  {
    name: 'io-mode/private',
    question: 'writes in flight, of 8: the file is mapped privately',
    shares: ['parallel', 'parallel+mmap'],
    expected: (facts) => phases(facts, [false]),
    run: mappedPrivately,
  },
  {
    name: 'io-mode/set-o-direct',
    question: 'READs of a page read twice: as opened > with O_DIRECT by fcntl > without it again',
    shares: ['auto', 'writeback', 'direct'],
    expected: ({ share }) => (share === 'direct' ? '2 > 2 > 2' : '1 > 2 > 0'),
    run: setODirect,
  },
  {
    name: 'io-mode/cached-open-waits',
    question: 'an open without DIRECT_IO, while parallel writes are in flight',
    shares: ['parallel', 'parallel+mmap'],
    expected: waits,
    run: (scene) => waitsForWrites(scene, (path) => [`open f ${O_RDONLY} ${path}`]),
  },
  {
    name: 'io-mode/cached-open-waits-for-one',
    question: 'an open without DIRECT_IO, while a single parallel write is in flight',
    shares: ['parallel'],
    expected: waits,
    run: (scene) => waitsForWrites(scene, (path) => [`open f ${O_RDONLY} ${path}`], 1),
  },
]

import { constants, writeFileSync } from 'node:fs'
import { FUSE_WRITE_CACHE, Opcode } from 'virtio-fs-ts/protocol'
import type { Outcome } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { type GuestFacts, knowsAllowMmap } from '../kernel-rules.js'
import type { Scene } from '../scene.js'
import { describeWaits } from '../writers.js'

const { O_RDWR } = constants
const FILE_BYTES = 65_536
const PAGE = 4096
const FILL = 7

/** Maps a file and reads through the mapping. */
async function map(scene: Scene, how: string): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  const mapped = await actor.attempt(`map m f ${FILE_BYTES} ${how}`)
  if ('error' in mapped) return { observed: mapped.error, evidence: `mmap: ${mapped.error}` }
  const seen = await actor.do(`peek m ${FILE_BYTES} 0`)
  const right = seen === `${FILL}x${FILE_BYTES}`
  return { observed: right ? 'works' : 'wrong data', evidence: `bytes read through it: ${seen}` }
}

const shared = ({ allowMmap }: GuestFacts): string => (allowMmap ? 'works' : 'ENODEV')

/** The INIT flag in the guest's answer. */
async function negotiated({ facts }: Scene): Promise<Observation> {
  const { allowMmap, minor } = facts
  return {
    observed: allowMmap ? 'agreed' : 'not offered',
    evidence: `FUSE 7.${minor}, DIRECT_IO_ALLOW_MMAP ${allowMmap ? 'is' : 'is not'} among the flags agreed on`,
  }
}

/** Stores through a mapping and direct writes take turns in neighbouring parts of each page. */
async function neighbours(scene: Scene): Promise<Observation> {
  const pageBytes = 4096
  const partBytes = 1000
  const [stored, written] = [65, 66]
  const file = scene.makeFile(FILE_BYTES)
  const [mapper, writer] = [scene.addActor(), scene.addActor()]
  for (const actor of [mapper, writer]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  for (let page = 0; page < FILE_BYTES; page += pageBytes) {
    // The page is dirty during the direct write next to the stored part, and gets another store afterwards.
    await mapper.do(`poke m ${partBytes} ${page} ${stored}`)
    await writer.do(`write f ${partBytes} ${page + partBytes} ${written}`)
    await mapper.do(`poke m ${partBytes} ${page + 2 * partBytes} ${stored}`)
    const model = scene.model(file)
    model.fill(page, partBytes, stored)
    model.fill(page + partBytes, partBytes, written)
    model.fill(page + 2 * partBytes, partBytes, stored)
    model.expectWrite(page + partBytes, partBytes)
  }
  await mapper.do('msync m')
  const bytes = scene.readFile(file)
  const wrong = [...bytes.keys()].filter((at) => {
    const part = Math.floor((at % pageBytes) / partBytes)
    return bytes[at] !== ([stored, written, stored][part] ?? 0)
  })
  const by = await writesOf(scene, file)
  return {
    observed: wrong.length === 0 ? 'nothing lost' : `${wrong.length} bytes lost`,
    evidence: `${by}; ${FILE_BYTES - wrong.length} of ${FILE_BYTES} bytes right on the host`,
  }
}

const ROUNDS = 6
const REPEATS = 5

/** Stores to every other page through a mapping while direct writes go to the pages between. */
async function racingNeighbours(scene: Scene): Promise<Observation> {
  const pageBytes = 4096
  const file = scene.makeFile(FILE_BYTES)
  const [mapper, writer] = [scene.addActor(), scene.addActor()]
  for (const actor of [mapper, writer]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  const lost = new Set<number>()
  for (let round = 1; round <= ROUNDS; round++) {
    const [stored, written] = [2 * round, 2 * round + 1]
    await mapper.start(`repeat ${REPEATS} msync m`)
    for (let page = 0; page < FILE_BYTES; page += 2 * pageBytes) {
      await mapper.start(`repeat ${REPEATS} poke m ${pageBytes} ${page} ${stored}`)
      await writer.start(`repeat ${REPEATS} write f ${pageBytes} ${page + pageBytes} ${written}`)
    }
    failOn(await mapper.join())
    failOn(await writer.join())
    for (let page = 0; page < FILE_BYTES; page += 2 * pageBytes) {
      scene.model(file).fill(page, pageBytes, stored)
      scene.model(file).fill(page + pageBytes, pageBytes, written)
    }
    await mapper.do('msync m')
    scene.readFile(file).forEach((byte, at) => {
      if (byte !== [stored, written][Math.floor(at / pageBytes) % 2]) lost.add(at)
    })
  }
  const by = await writesOf(scene, file)
  return {
    observed: lost.size === 0 ? 'nothing lost' : `${lost.size} bytes lost`,
    evidence: `${ROUNDS} rounds, ${by}`,
  }
}

function writesOf(scene: Scene, file: string): Promise<string> {
  return scene.countWords(
    file,
    ({ directWrites, cachedWrites }) => `${directWrites} direct writes, ${cachedWrites} by the page cache`,
  )
}

function failOn(outcomes: readonly Outcome[]): void {
  const failed = outcomes.find((outcome) => 'error' in outcome)
  if (failed !== undefined) throw new Error(`an operation ended with ${JSON.stringify(failed)}`)
}

/** Another process reads directly before and after msync of the mapping. */
async function readAfterMsync(scene: Scene): Promise<Observation> {
  const stored = 90
  const file = scene.makeFile(FILE_BYTES, FILL)
  const [mapper, reader] = [scene.addActor(), scene.addActor()]
  for (const actor of [mapper, reader]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  await mapper.do(`poke m ${FILE_BYTES} 0 ${stored}`)
  scene.model(file).fill(0, FILE_BYTES, stored)
  await mapper.do('msync m')
  const after = await reader.do(`read f ${FILE_BYTES} 0`)
  const host = scene.readFile(file).every((byte) => byte === stored)
  const right = after === `${stored}x${FILE_BYTES}` && host
  return {
    observed: right ? 'new data' : 'old data',
    evidence: `bytes read: ${after}; the host ${host ? 'has them' : 'has others'}`,
  }
}

/** Another process reads directly while a page is dirty, without msync. */
async function readDirty(scene: Scene): Promise<Observation> {
  const stored = 91
  const file = scene.makeFile(FILE_BYTES, FILL)
  const [mapper, reader] = [scene.addActor(), scene.addActor()]
  for (const actor of [mapper, reader]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  await mapper.do(`poke m ${FILE_BYTES} 0 ${stored}`)
  scene.model(file).fill(0, FILE_BYTES, stored)
  const seen = await reader.do(`read f ${FILE_BYTES} 0`)
  return {
    observed: seen === `${stored}x${FILE_BYTES}` ? 'new data' : 'old data',
    evidence: `bytes read: ${seen}`,
  }
}

/** Reads a mapping after another process has written directly, and again after a host write and a new mapping. */
async function peekAfterWrite(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, FILL)
  const [mapper, writer] = [scene.addActor(), scene.addActor()]
  for (const actor of [mapper, writer]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  const seen = [await mapper.do(`peek m ${FILE_BYTES} 0`)]
  await writer.do(`write f ${FILE_BYTES} 0 2`)
  seen.push(await mapper.do(`peek m ${FILE_BYTES} 0`))
  writeFileSync(scene.hostPath(file), Buffer.alloc(FILE_BYTES, 3))
  scene.model(file).fill(0, FILE_BYTES, 3)
  await mapper.do('unmap m')
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  seen.push(await mapper.do(`peek m ${FILE_BYTES} 0`))
  return {
    observed: seen.map((runs) => `${runs}`.replaceAll(`x${FILE_BYTES}`, '')).join(' > '),
    evidence: '',
  }
}

/** Writes directly to part of a dirty page, and checks the order of the requests. */
async function flushBeforeWrite(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, FILL)
  const [mapper, writer] = [scene.addActor(), scene.addActor()]
  for (const actor of [mapper, writer]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  await mapper.do('poke m 4096 0 2')
  await writer.do('write f 100 50 3')
  scene.model(file).fill(0, 4096, 2)
  scene.model(file).fill(50, 100, 3)
  const { cachedWrites } = await scene.counts(file)
  scene.judgeRequests((requests) => {
    const writes = requests.filter(({ request }) => request.opcode === Opcode.WRITE)
    const isFirst = ((writes[0]?.request.detailFlags ?? 0) & FUSE_WRITE_CACHE) !== 0
    return isFirst ? [] : ['the direct write came first']
  })
  return { observed: 'flushed first', evidence: `${cachedWrites} WRITEs by the page cache` }
}

/** Stores through a mapping, then all processes exit without msync. */
async function leaveDirty(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, FILL)
  const mapper = scene.addActor()
  await mapper.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  await mapper.do('close f')
  await mapper.do(`poke m ${FILE_BYTES} 0 5`)
  await mapper.do('unmap m')
  scene.model(file).fill(0, FILE_BYTES, 5)
  return { observed: 'written', evidence: await writesOf(scene, file) }
}

/** Holds the reply to the write-back of dirty pages, and starts another operation on one of them. */
async function duringWriteBack(
  scene: Scene,
  operation: 'read' | 'write' | 'poke',
  pages = 1,
): Promise<Observation> {
  const last = (pages - 1) * PAGE
  const file = scene.makeFile(FILE_BYTES, FILL)
  const [mapper, other] = [scene.addActor(), scene.addActor()]
  for (const actor of [mapper, other]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  await mapper.do(`poke m ${pages * PAGE} 0 2`)
  await scene.holdWrites(file, 1000)
  // msync would hold the inode's lock, which this case does not test.
  const writeBack = scene.guest.spawn('sync')
  await scene.writeInFlight(file)
  const doer = operation === 'poke' ? mapper : other
  const operations = {
    read: `read f ${PAGE} ${last}`,
    write: `write f ${PAGE} ${last} 3`,
    poke: `poke m ${PAGE} ${last} 3`,
  }
  await doer.start(operations[operation])
  const { ended, waiting } = await scene.rest(doer)
  // A direct write that does not wait has reached the device, which holds it too.
  const hasCome = operation === 'write' && (await scene.writesInFlight(file)) > 1
  await scene.holdNothing()
  await writeBack.result
  failOn([...(await mapper.join()), ...(await other.join())])
  scene.model(file).fill(0, pages * PAGE, 2)
  if (operation !== 'read') scene.model(file).fill(last, PAGE, 3)
  return { observed: hasCome || ended > 0 ? 'does not wait' : 'waits', evidence: describeWaits(waiting) }
}

/** Maps a dirty file a second time. */
async function mapDirty(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, FILL)
  const [mapper, other] = [scene.addActor(), scene.addActor()]
  for (const actor of [mapper, other]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await mapper.do(`map m f ${FILE_BYTES} shared rw`)
  await mapper.do(`poke m ${FILE_BYTES} 0 5`)
  scene.model(file).fill(0, FILE_BYTES, 5)
  await other.do(`map m f ${FILE_BYTES} shared r`)
  const seen = await other.do(`peek m ${FILE_BYTES} 0`)
  return { observed: seen === `5x${FILE_BYTES}` ? 'new data' : 'old data', evidence: `bytes: ${seen}` }
}

const onlyMapped = ({ allowMmap }: GuestFacts, outcome: string): string | undefined =>
  allowMmap ? outcome : undefined

export const mappingCases: readonly LabCase[] = [
  {
    name: 'mmap/negotiated',
    question: 'FUSE_DIRECT_IO_ALLOW_MMAP at INIT',
    shares: ['parallel+mmap'],
    expected: (facts) => (facts.asksMmap && knowsAllowMmap(facts) ? 'agreed' : 'not offered'),
    run: negotiated,
  },
  {
    name: 'mmap/shared',
    question: 'MAP_SHARED of a direct-io file',
    shares: ['direct', 'parallel', 'mmap', 'parallel+mmap'],
    expected: shared,
    run: (scene) => map(scene, 'shared rw'),
  },
  {
    name: 'mmap/shared-read',
    question: 'MAP_SHARED with PROT_READ alone',
    shares: ['direct', 'parallel', 'mmap', 'parallel+mmap'],
    expected: shared,
    run: (scene) => map(scene, 'shared r'),
  },
  {
    name: 'mmap/private',
    question: 'MAP_PRIVATE of a direct-io file',
    shares: ['direct', 'parallel', 'mmap', 'parallel+mmap'],
    expected: () => 'works',
    run: (scene) => map(scene, 'private rw'),
  },
  {
    name: 'mmap/neighbours',
    question: 'stores through a mapping and direct writes in the same pages, in turn',
    shares: ['mmap', 'parallel+mmap'],
    expected: (facts) => onlyMapped(facts, 'nothing lost'),
    run: neighbours,
  },
  {
    name: 'mmap/racing-neighbours',
    races: true,
    question: 'stores through a mapping and direct writes in neighbouring pages, at once',
    shares: ['mmap', 'parallel+mmap'],
    expected: (facts) => onlyMapped(facts, 'nothing lost'),
    run: racingNeighbours,
  },
  {
    name: 'mmap/read-after-msync',
    question: 'a direct read after msync of a mapping',
    shares: ['mmap', 'parallel+mmap'],
    expected: (facts) => onlyMapped(facts, 'new data'),
    run: readAfterMsync,
  },
  {
    name: 'mmap/read-dirty',
    question: 'a direct read while the pages of a mapping are dirty',
    shares: ['mmap', 'parallel+mmap'],
    expected: (facts) => onlyMapped(facts, 'new data'),
    run: readDirty,
  },
  {
    name: 'mmap/peek-after-write',
    question: 'bytes of a mapping: at first > after a direct write > changed on the host and mapped again',
    shares: ['mmap', 'parallel+mmap'],
    expected: (facts) => onlyMapped(facts, '7 > 2 > 3'),
    run: peekAfterWrite,
  },
  {
    name: 'mmap/flush-before-write',
    question: 'a direct write into a page that is dirty',
    shares: ['mmap', 'parallel+mmap'],
    expected: (facts) => onlyMapped(facts, 'flushed first'),
    run: flushBeforeWrite,
  },
  {
    name: 'mmap/map-dirty',
    question: 'mapped by another process while its pages are dirty',
    shares: ['mmap', 'parallel+mmap'],
    expected: (facts) => onlyMapped(facts, 'new data'),
    run: mapDirty,
  },
  ...(['read', 'write', 'poke'] as const).map(
    (operation): LabCase => ({
      name: `mmap/${operation}-waits`,
      question: `${operation === 'poke' ? 'a store' : `a direct ${operation}`} while its page is written back`,
      shares: ['mmap'],
      expected: (facts) => onlyMapped(facts, 'waits'),
      run: (scene) => duringWriteBack(scene, operation),
    }),
  ),
  {
    name: 'mmap/last-waits',
    question: 'a store to the last of four pages that are written back together',
    shares: ['mmap', 'writeback'],
    expected: (facts) => (facts.asksMmap ? onlyMapped(facts, 'waits') : 'waits'),
    run: (scene) => duringWriteBack(scene, 'poke', 4),
  },
  {
    name: 'mmap/leave-dirty',
    question: 'stores through a mapping of a closed file, then munmap without msync',
    shares: ['mmap', 'auto', 'writeback'],
    expected: (facts) => (facts.asksMmap ? onlyMapped(facts, 'written') : 'written'),
    run: leaveDirty,
  },
]

import { appendFileSync, constants, statSync, utimesSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LabCase, Observation } from '../case.js'
import type { ShareName } from '../option-sets.js'
import type { Scene } from '../scene.js'

const { O_RDONLY, O_WRONLY } = constants
const FILE_BYTES = 8192
const OLD = 1
const NEW = 2
/** Longer than the second for which `--cache auto` lets the guest cache attributes. */
const ATTRIBUTES_EXPIRE_MS = 1_300
/** The shares with `--cache auto`. On the others attributes are valid for no time at all, or for a day. */
const EXPIRING: readonly ShareName[] = ['auto', 'keep', 'writeback']
/** After this pause, the times of two versions of a file differ, and a device can say that a file is unchanged. */
export const SETTLED_MS = 100

const POLICIES: readonly ShareName[] = ['direct', 'metadata', 'auto', 'keep', 'always']
const WRITERS_POLICIES: readonly ShareName[] = ['direct', 'auto', 'always', 'writeback']

/** Waits until attributes have expired that the guest caches for a second. */
export async function attributesExpire({ share }: Scene): Promise<void> {
  if (EXPIRING.includes(share)) await sleep(ATTRIBUTES_EXPIRE_MS)
}

/** The host writes the same number of different bytes, with a clearly different time. */
function changeOnHost(scene: Scene, file: string): void {
  const path = scene.hostPath(file)
  const { mtimeMs } = statSync(path)
  writeFileSync(path, Buffer.alloc(FILE_BYTES, NEW))
  utimesSync(path, new Date(), new Date(mtimeMs + 10_000))
  expectChange(scene, file, FILE_BYTES)
}

/** The guest may still see cached bytes, so the model checks the host's bytes only. */
function expectChange(scene: Scene, file: string, sizeBytes: number, byte = NEW): void {
  scene.model(file).replace(Buffer.alloc(sizeBytes, byte))
  scene.model(file).comparesGuest = false
}

function nameData(seen: number | string): string {
  if (seen === `${NEW}x${FILE_BYTES}`) return 'new data'
  return seen === `${OLD}x${FILE_BYTES}` ? 'old data' : `${seen}`
}

/** The guest reads and closes the file, the host changes it, the guest reads it again: close-to-open consistency. */
async function reopen(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, OLD)
  const actor = scene.addActor()
  const readAnew = async (): Promise<number | string> => {
    await actor.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
    const seen = await actor.do(`read f ${FILE_BYTES} 0`)
    await actor.do('close f')
    return seen
  }
  await readAnew()
  changeOnHost(scene, file)
  await attributesExpire(scene)
  const seen = await readAnew()
  return { observed: nameData(seen), evidence: await readsAndOpens(scene, file) }
}

/** The same with a change that alters neither size nor mtime. */
async function reopenSameTime(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, OLD)
  const path = scene.hostPath(file)
  const { atime, mtime } = statSync(path)
  await sleep(SETTLED_MS)
  const actor = scene.addActor()
  const readAnew = async (): Promise<number | string> => {
    await actor.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
    const seen = await actor.do(`read f ${FILE_BYTES} 0`)
    await actor.do('close f')
    return seen
  }
  await readAnew()
  writeFileSync(path, Buffer.alloc(FILE_BYTES, NEW))
  utimesSync(path, atime, mtime)
  expectChange(scene, file, FILE_BYTES)
  const seen = await readAnew()
  return { observed: nameData(seen), evidence: await readsAndOpens(scene, file) }
}

/** The same without a change: checks if the second open finds the data in the guest's page cache. */
async function readTwice(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, OLD)
  await sleep(SETTLED_MS)
  const actor = scene.addActor()
  const figures: number[] = []
  for (let round = 0; round < 2; round++) {
    await actor.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
    await actor.do(`read f ${FILE_BYTES} 0`)
    await actor.do('close f')
    figures.push((await scene.counts(file)).reads)
  }
  const [first, both] = figures as [number, number]
  return {
    observed: both === first ? 'kept' : 'read again',
    evidence: `READs: ${first} at the first open, ${both - first} at the second`,
  }
}

/** The host changes a file that is open in the guest. */
async function readOpenFile(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, OLD)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
  await actor.do(`read f ${FILE_BYTES} 0`)
  changeOnHost(scene, file)
  await attributesExpire(scene)
  const seen = await actor.do(`read f ${FILE_BYTES} 0`)
  return { observed: nameData(seen), evidence: await scene.countWords(file, ({ reads }) => `${reads} READs`) }
}

/** The host appends bytes to a page that the guest has cached. */
async function readGrownFile(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(1000, OLD)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
  await actor.do('read f 4096 0')
  appendFileSync(scene.hostPath(file), Buffer.alloc(1000, NEW))
  scene.model(file).fill(1000, 1000, NEW)
  scene.model(file).comparesGuest = false
  await attributesExpire(scene)
  const seen = await actor.do('read f 4096 0')
  const names: Record<string, string> = {
    [`${OLD}x1000 ${NEW}x1000`]: 'new data',
    [`${OLD}x1000`]: 'old data',
  }
  return { observed: names[seen] ?? `${seen}`, evidence: `bytes read: ${seen}` }
}

/** The guest calls stat after the host has changed the size. */
async function statChange(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, OLD)
  const size = async (): Promise<number> =>
    Number(await scene.guest.output(`stat -c %s ${scene.guestPath(file)}`))
  const before = await size()
  writeFileSync(scene.hostPath(file), Buffer.alloc(2 * FILE_BYTES))
  expectChange(scene, file, 2 * FILE_BYTES, 0)
  await attributesExpire(scene)
  const after = await size()
  return {
    observed: after === 2 * FILE_BYTES ? 'new size' : 'old size',
    evidence: `${before} bytes before, ${after} bytes after the change to ${2 * FILE_BYTES}`,
  }
}

/** The same by fstat, which looks up no name. */
async function fstatChange(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, OLD)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
  const before = await actor.do('size f')
  writeFileSync(scene.hostPath(file), Buffer.alloc(2 * FILE_BYTES))
  expectChange(scene, file, 2 * FILE_BYTES, 0)
  await attributesExpire(scene)
  const after = await actor.do('size f')
  return { observed: after === 2 * FILE_BYTES ? 'new size' : 'old size', evidence: `${before} > ${after}` }
}

const PIECES = 16
const PIECE_BYTES = 256

/** Counts the WRITEs of many small writes and an fsync. */
async function smallWrites(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, OLD)
  const actor = scene.addActor()
  await actor.do(`open f ${O_WRONLY} ${scene.guestPath(file)}`)
  for (let n = 0; n < PIECES; n++) {
    await actor.do(`write f ${PIECE_BYTES} ${n * PIECE_BYTES} ${NEW}`)
    scene.model(file).fill(n * PIECE_BYTES, PIECE_BYTES, NEW)
  }
  const before = await scene.counts(file)
  await actor.do('fsync f')
  const after = await scene.counts(file)
  const writes = before.directWrites + before.cachedWrites
  return {
    // A page cache may start write-back at any time, but it merges: one WRITE holds many writes.
    observed: writes === PIECES ? 'written through' : 'written back',
    evidence: `${PIECES} writes of ${PIECE_BYTES} bytes: ${writes} WRITEs before fsync, ${after.directWrites + after.cachedWrites - writes} by it`,
  }
}

/** The guest writes and closes a file without fsync, then the host reads it. */
async function close(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, OLD)
  const actor = scene.addActor()
  await actor.do(`open f ${O_WRONLY} ${scene.guestPath(file)}`)
  await actor.do(`write f ${FILE_BYTES} 0 ${NEW}`)
  scene.model(file).fill(0, FILE_BYTES, NEW)
  await actor.do('close f')
  const written = scene.readFile(file).filter((byte) => byte === NEW).length
  const by = await scene.countWords(
    file,
    (counts) => `, by ${counts.directWrites + counts.cachedWrites} WRITEs`,
  )
  return {
    observed: written === FILE_BYTES ? 'new data' : 'old data',
    evidence: `${written} of ${FILE_BYTES} bytes on the host${by}`,
  }
}

function readsAndOpens(scene: Scene, file: string): Promise<string> {
  return scene.countWords(
    file,
    ({ reads, opens }) => `${reads} READs, opens answered with ${describeOpens(opens)}`,
  )
}

function describeOpens(opens: Readonly<Record<string, number>>): string {
  return Object.entries(opens)
    .map(([flags, count]) => `${flags} (${count})`)
    .join(', ')
}

/** The effect of the policies does not depend on the kernel. */
const byShare =
  (outcomes: Partial<Record<ShareName, string>>) =>
  ({ share }: { share: ShareName }): string | undefined =>
    outcomes[share]

export const cacheCases: readonly LabCase[] = [
  {
    name: 'cache/reopen',
    question: 'changed on the host between close and open',
    shares: POLICIES,
    expected: byShare({
      direct: 'new data',
      metadata: 'new data',
      auto: 'new data',
      // KEEP_CACHE and expired attributes: AUTO_INVAL_DATA drops the pages if mtime has changed.
      keep: 'new data',
      always: 'old data',
    }),
    run: reopen,
  },
  {
    name: 'cache/reopen-same-time',
    question: 'changed on the host between close and open, with the same size and time of change',
    shares: POLICIES,
    expected: byShare({
      direct: 'new data',
      metadata: 'new data',
      auto: 'new data',
      // The option sets KEEP_CACHE at every open, and the guest caches attributes for a second.
      keep: 'old data',
      always: 'old data',
    }),
    run: reopenSameTime,
  },
  {
    name: 'cache/read-twice',
    question: 'not changed, opened and read again',
    shares: POLICIES,
    expected: byShare({
      direct: 'read again',
      metadata: 'read again',
      auto: 'kept',
      keep: 'kept',
      always: 'kept',
    }),
    run: readTwice,
  },
  {
    name: 'cache/read-open-file',
    question: 'changed on the host while it is open',
    shares: POLICIES,
    expected: byShare({
      direct: 'new data',
      metadata: 'new data',
      auto: 'new data',
      keep: 'new data',
      always: 'old data',
    }),
    run: readOpenFile,
  },
  {
    name: 'cache/grown',
    question: 'read again after bytes were appended on the host',
    shares: ['direct', 'auto', 'keep', 'always'],
    expected: ({ share }) => (share === 'always' ? 'old data' : 'new data'),
    run: readGrownFile,
  },
  {
    name: 'cache/stat',
    question: 'the size from stat after the host has changed it',
    shares: POLICIES,
    expected: byShare({
      direct: 'new size',
      metadata: 'old size',
      auto: 'new size',
      keep: 'new size',
      always: 'old size',
    }),
    run: statChange,
  },
  {
    name: 'cache/fstat',
    question: 'the size from fstat after the host has changed it',
    shares: POLICIES,
    expected: byShare({
      direct: 'new size',
      metadata: 'old size',
      auto: 'new size',
      keep: 'new size',
      always: 'old size',
    }),
    run: fstatChange,
  },
  {
    name: 'cache/close',
    question: 'written in the guest and closed, then read on the host',
    shares: WRITERS_POLICIES,
    expected: () => 'new data',
    run: close,
  },
  {
    name: 'cache/small-writes',
    question: '16 small writes, and then fsync',
    shares: WRITERS_POLICIES,
    expected: byShare({
      direct: 'written through',
      auto: 'written through',
      always: 'written through',
      writeback: 'written back',
    }),
    run: smallWrites,
  },
]

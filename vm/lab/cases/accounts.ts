/** The guest's view of a file: its size, its dirty pages, and the rest after a short reply. */
import { constants, truncateSync } from 'node:fs'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import type { Scene } from '../scene.js'

const { O_APPEND, O_DIRECT, O_RDWR } = constants
const PAGE = 4096
const MIB = 1 << 20
const FILL = 7
const NEW = 9

/** The device writes only 1000 bytes of the first of three requests. The bytes behind must not follow there. */
async function shortLargeWrite(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(3 * MIB, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await scene.fault(file, 'WRITE', { shortBytes: 1000, limit: 1 })
  const written = await actor.do(`write f ${2 * MIB + 100} 0 ${NEW}`)
  scene.model(file).fill(0, 1000, NEW)
  // The pages that were filled for the request stay in the guest.
  scene.model(file).comparesGuest = false
  return { observed: `${written}`, evidence: '' }
}

/** An asynchronous write that extends the file and fails leaves the old size on both sides. */
async function failedAio(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_DIRECT} ${scene.guestPath(file)}`)
  await scene.fault(file, 'WRITE', { shortBytes: 1000, limit: 1 })
  const outcome = await actor.attempt(`aio f ${PAGE} ${PAGE} ${NEW}`)
  return { observed: 'error' in outcome ? outcome.error : `${outcome.value}`, evidence: '' }
}

/** Appends twice, and asks for nothing in between: the second append has to know of the first. */
async function appendAio(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_DIRECT | O_APPEND} ${scene.guestPath(file)}`)
  for (const n of [1, 2]) {
    await actor.do(`aio f ${PAGE} 0 ${n}`)
    scene.model(file).fill(n * PAGE, PAGE, n)
    scene.model(file).expectWrite(n * PAGE, PAGE)
  }
  return { observed: 'one behind the other', evidence: '' }
}

/**
 * A reply with an old size arrives after a write that extended the file. The host makes the file shorter meanwhile, so
 * that the reply to the held GETATTR has the size from before the write. An append then shows which size the guest
 * uses.
 */
async function lateAttributes(scene: Scene): Promise<Observation> {
  // Servers that open the host's file with O_APPEND write elsewhere than the guest says, so no bytes are compared.
  const file = scene.makeAnyFile(PAGE)
  const [asker, writer] = [scene.addActor(), scene.addActor()]
  await asker.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await writer.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await writer.do(`open a ${O_RDWR | O_APPEND} ${scene.guestPath(file)}`)
  // After a write the guest has no valid attributes, so fstat asks.
  await writer.do(`write f 100 0 ${NEW}`)
  await scene.hold(file, 'GETATTR', 2)
  await asker.start('size f')
  await scene.rest(asker)
  await writer.do(`write f ${PAGE} ${PAGE} ${NEW}`)
  truncateSync(scene.hostPath(file), PAGE)
  await scene.release()
  await asker.join()
  await scene.holdNothing()
  await writer.do(`write a 100 0 ${NEW}`)
  scene.judgeRequests((requests) => {
    const offsets = requests
      .filter(({ request }) => request.opcode === Opcode.WRITE)
      .map(({ request }) => request.offsetBytes)
    return offsets.at(-1) === 2 * PAGE ? [] : [`appended at ${offsets.at(-1)} instead of ${2 * PAGE}`]
  })
  return { observed: 'ignored', evidence: 'the offset of an append afterwards' }
}

/** Dirty pages with gaps between them, written back together. */
async function gaps(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(16 * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  for (const [n, page] of [0, 2, 3, 7, 15].entries()) {
    await actor.do(`write f ${PAGE} ${page * PAGE} ${n + 10}`)
    scene.model(file).fill(page * PAGE, PAGE, n + 10)
  }
  await actor.do('fsync f')
  const evidence = await scene.countWords(
    file,
    ({ cachedWrites }) => `${cachedWrites} WRITEs by the page cache`,
  )
  return { observed: 'each in its place', evidence }
}

export const accountCases: readonly LabCase[] = [
  {
    name: 'data/short-large-write',
    question: 'the device writes 1000 bytes of the first of three requests',
    shares: ['direct', 'auto'],
    expected: () => '1000',
    run: shortLargeWrite,
  },
  {
    name: 'data/failed-aio',
    question: 'an io_submit beyond the end, of which the device writes 1000 bytes: the result, and the size',
    shares: ['direct'],
    expected: () => 'EIO',
    run: failedAio,
  },
  {
    name: 'data/append-aio',
    question: 'two io_submits with O_APPEND',
    shares: ['direct'],
    expected: () => 'one behind the other',
    run: appendAio,
  },
  {
    name: 'data/late-attributes',
    question: 'an old size that arrives after a write that extended the file',
    shares: ['always'],
    expected: () => 'ignored',
    run: lateAttributes,
  },
  {
    name: 'data/gaps',
    question: 'dirty pages with gaps between them',
    shares: ['writeback', 'auto'],
    expected: () => 'each in its place',
    run: gaps,
  },
]

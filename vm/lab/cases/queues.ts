/** The virtio-fs driver: its queues. */
import { constants, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { told } from '../judging.js'
import { mapsQueuesToProcessors } from '../kernel-rules.js'
import { RING_SIZE } from '../option-sets.js'
import type { Scene } from '../scene.js'
import { Stuck } from '../writers.js'
import { DROP_CACHES } from './entries.js'

const { O_DIRECT, O_RDWR } = constants
const PAGE = 4096

/** Writes from two processors to one file. */
async function queues(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(2 * PAGE)
  for (const cpu of [0, 1]) {
    const actor = scene.addActor()
    await actor.do(`cpu ${cpu}`)
    await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
    await actor.do(`write f ${PAGE} ${cpu * PAGE} ${cpu + 1}`)
    scene.model(file).fill(cpu * PAGE, PAGE, cpu + 1)
  }
  const expected = mapsQueuesToProcessors(scene.facts) ? 2 : 1
  scene.judgeRequests((requests) => {
    const used = new Set(
      requests.filter(({ request }) => request.opcode === Opcode.WRITE).map(({ request }) => request.queue),
    )
    return used.size === expected ? [] : [`${used.size} queues instead of ${expected}`]
  })
  return { observed: `${expected}`, evidence: 'a write from each of two processors' }
}

/** More requests than the ring has places. */
const MANY = RING_SIZE + 176

/** More requests at once than the ring has places. The device answers none until the guest is at rest. */
async function fullRing(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(MANY * PAGE)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_DIRECT} ${scene.guestPath(file)}`)
  await scene.holdWrites(file, 2 * MANY)
  await actor.start(`aiomany f ${MANY} ${PAGE} 9`)
  scene.model(file).fill(0, MANY * PAGE, 9)
  const together: number[] = []
  for (;;) {
    const { ended } = await scene.rest(actor)
    if (ended === 1) break
    const inFlight = await scene.writesInFlight(file)
    if (inFlight === 0) throw new Stuck('requests that did not fit are never sent')
    together.push(inFlight)
    await scene.release()
  }
  const [written] = await actor.join()
  return { observed: `${together.join(' > ')}, ${told(written!)} written`, evidence: '' }
}

/** The guest forgets more files than the ring for FORGET has places. The device takes none until the guest is at rest. */
async function fullForgets(scene: Scene): Promise<Observation> {
  const directory = scene.file()
  mkdirSync(scene.hostPath(directory))
  for (let n = 0; n < MANY; n++) writeFileSync(join(scene.hostPath(directory), `${n}`), '')
  await scene.guest.output(`ls -l ${scene.guestPath(directory)} | wc -l`)
  await scene.hold(`${directory}/*`, 'FORGET', 2 * MANY)
  const forgotten = async (): Promise<number> =>
    (await scene.ask<{ applied: number }[]>('fault-list'))[0]!.applied
  const together: number[] = []
  for (let before = -1, now = 0, looks = 0; looks < LOOKS && now < MANY; looks++) {
    await scene.guest.output(DROP_CACHES)
    now = await forgotten()
    if (now > 0 && now === before && (await scene.release()) > 0) together.push(now)
    before = now
  }
  return { observed: `${together[0]} > ${await forgotten()}`, evidence: '' }
}

const LOOKS = 100

export const queueCases: readonly LabCase[] = [
  {
    name: 'driver/full-ring',
    question: `${MANY} requests on a ring of ${RING_SIZE}: in flight together > when those are answered`,
    needs: 'virtio',
    shares: ['direct'],
    expected: () => `${RING_SIZE} > ${MANY - RING_SIZE}, ${MANY} written`,
    run: fullRing,
  },
  {
    name: 'driver/full-forgets',
    question: `${MANY} FORGETs on a ring of ${RING_SIZE}: in flight together > all`,
    needs: 'virtio',
    shares: ['always'],
    expected: () => `${RING_SIZE} > ${MANY}`,
    run: fullForgets,
  },
  {
    name: 'driver/queues',
    question: 'request queues that two processors use, of two',
    needs: 'virtio',
    shares: ['metadata'],
    expected: (facts) => (mapsQueuesToProcessors(facts) ? '2' : '1'),
    run: queues,
  },
]

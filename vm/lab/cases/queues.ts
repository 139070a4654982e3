/** The virtio-fs driver: its queues. */
import { constants } from 'node:fs'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { mapsQueuesToProcessors } from '../kernel-rules.js'
import type { Scene } from '../scene.js'

const { O_RDWR } = constants
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

export const queueCases: readonly LabCase[] = [
  {
    name: 'driver/queues',
    question: 'request queues that two processors use, of two',
    needs: 'virtio',
    shares: ['metadata'],
    expected: (facts) => (mapsQueuesToProcessors(facts) ? '2' : '1'),
    run: queues,
  },
]

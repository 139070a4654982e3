/** Locks that the device keeps: the guest's requests about them, and their end. */
import { constants } from 'node:fs'
import { FUSE_RELEASE_FLOCK_UNLOCK, Opcode } from 'virtio-fs-ts/protocol'
import type { Actor } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { told } from '../judging.js'
import type { Scene } from '../scene.js'

const { O_RDWR } = constants
const BYTES = 100

async function twoProcesses(scene: Scene): Promise<[Actor, Actor]> {
  const path = scene.guestPath(scene.makeFile(BYTES))
  const actors: [Actor, Actor] = [scene.addActor(), scene.addActor()]
  for (const actor of actors) await actor.do(`open f ${O_RDWR} ${path}`)
  await actors[0].do(`open again ${O_RDWR} ${path}`)
  return actors
}

async function outcomesOf(steps: readonly (readonly [Actor, string])[]): Promise<Observation> {
  const outcomes: string[] = []
  for (const [actor, step] of steps) outcomes.push(told(await actor.attempt(step)))
  return { observed: outcomes.join(', '), evidence: '' }
}

/** Record locks of two processes. Closing any descriptor of the file ends those of a process. */
async function records(scene: Scene): Promise<Observation> {
  const [first, second] = await twoProcesses(scene)
  return outcomesOf([
    [first, 'lock f write 10 10'],
    [second, 'lock f write 19 1'],
    [second, 'lock f write 20 5'],
    [second, 'testlock f 0 10'],
    [second, 'testlock f 0 11'],
    [first, 'lock f none 15 5'],
    [second, 'lock f read 15 5'],
    [first, 'close again'],
    [second, 'lock f write 10 5'],
  ])
}

/** flock of two opens: it ends with the open file. */
async function wholeFiles(scene: Scene): Promise<Observation> {
  const [first, second] = await twoProcesses(scene)
  scene.judgeRequests((requests) => {
    const release = requests.find(({ request }) => request.opcode === Opcode.RELEASE)?.request
    return release !== undefined && (release.detailFlags & FUSE_RELEASE_FLOCK_UNLOCK) !== 0
      ? []
      : ['RELEASE without FLOCK_UNLOCK']
  })
  return outcomesOf([
    [first, 'flock f shared'],
    [second, 'flock f exclusive'],
    [second, 'flock f shared'],
    [second, 'lock f write 0 10'],
    [second, 'flock f none'],
    [first, 'flock f exclusive'],
    [first, 'flock again exclusive'],
    [first, 'close f'],
    [second, 'flock f exclusive'],
  ])
}

export const lockCases: readonly LabCase[] = [
  {
    name: 'locks/records',
    question:
      'bytes 10 to 19 locked; 19 and 20 to 24 by another; free up to 10, and up to 11; 15 to 19 unlocked, read by the other; a descriptor closed, the rest locked by the other',
    shares: ['names'],
    expected: () => '0, EAGAIN, 0, free, held, 0, 0, 0, 0',
    run: records,
  },
  {
    name: 'locks/flock',
    question:
      'shared; exclusive, shared and a record lock by another, which then unlocks; exclusive; exclusive by another open; closed; exclusive by the other',
    shares: ['names'],
    expected: () => '0, EAGAIN, 0, 0, 0, 0, EAGAIN, 0, 0',
    run: wholeFiles,
  },
]

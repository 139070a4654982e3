/** Locks that the device keeps: the guest's requests about them, and their end. */
import { constants } from 'node:fs'
import { FUSE_RELEASE_FLOCK_UNLOCK, Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import type { Actor } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { expectRequest, expectRequests, told } from '../judging.js'
import { tellsOnlyGrantedLocks } from '../kernel-rules.js'
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
  const pid = await first.do('pid')
  for (const opcode of [Opcode.SETLK, Opcode.GETLK])
    expectRequest(scene, opcodeName(opcode), (request) => request.opcode === opcode)
  const seen = await outcomesOf([
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
  return { ...seen, observed: seen.observed?.replace(`by ${pid},`, 'by the first,') }
}

/** One waits for a lock that another process holds. */
async function waiting(scene: Scene): Promise<Observation> {
  const [first, second] = await twoProcesses(scene)
  await first.do('lock f write 0 10')
  await second.start('waitlock f write 0 10')
  const { ended } = await scene.rest(second)
  await first.do('lock f none 0 10')
  const [outcome] = await second.join()
  return { observed: `${ended === 0 ? 'waits' : 'does not wait'} > ${told(outcome!)}`, evidence: '' }
}

/** An flock that is refused leaves nothing to release. */
async function refused(scene: Scene): Promise<Observation> {
  const [first, second] = await twoProcesses(scene)
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.RELEASE,
    ({ detailFlags }) => ((detailFlags & FUSE_RELEASE_FLOCK_UNLOCK) === 0 ? 'plain' : 'FLOCK_UNLOCK'),
    'plain FLOCK_UNLOCK plain',
  )
  return outcomesOf([
    [first, 'flock f exclusive'],
    [second, 'flock f exclusive'],
    [second, 'close f'],
    [first, 'close f'],
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
    expected: () => '0, EAGAIN, 0, free, held 10+10 by the first, 0, 0, 0, 0',
    run: records,
  },
  {
    name: 'locks/waits',
    question: 'a lock that another process holds, by fcntl(F_SETLKW): before > after it is unlocked',
    shares: ['names'],
    expected: () => 'waits > 0',
    run: waiting,
  },
  {
    name: 'locks/refused',
    question: 'exclusive; exclusive by another; closed by both: RELEASE tells of the first alone',
    needs: 'virtio',
    shares: ['names'],
    expected: (facts) => (tellsOnlyGrantedLocks(facts) ? '0, EAGAIN, 0, 0' : undefined),
    run: refused,
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

/** Asynchronous transfers: their ends, and requests of one transfer that end differently. */
import { appendFileSync, constants } from 'node:fs'
import type { LabCase, Observation } from '../case.js'
import { expectRisingWrites, told } from '../judging.js'
import type { Scene } from '../scene.js'

const { O_DIRECT, O_RDWR } = constants
const PAGE = 4096
const MIB = 1 << 20
const FILL = 7
const NEW = 9

/** Reads at the end of a file, and behind the end that the guest knows. */
async function reads(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE + 1, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_DIRECT} ${scene.guestPath(file)}`)
  const outcomes = [
    await actor.attempt(`aioread f 1 ${PAGE}`),
    await actor.attempt(`aioread f 1 ${PAGE + 1}`),
  ]
  appendFileSync(scene.hostPath(file), Buffer.alloc(3 * PAGE, FILL))
  scene.model(file).fill(PAGE + 1, 3 * PAGE, FILL)
  outcomes.push(await actor.attempt(`aioread f ${4 * PAGE} 0`))
  return { observed: outcomes.map(told).join(', '), evidence: '' }
}

/** Three requests of one read bring 1000 bytes each. What follows the first gap is not part of the result. */
async function shortReads(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(3 * MIB, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_DIRECT} ${scene.guestPath(file)}`)
  await scene.fault(file, 'READ', { shortBytes: 1000 })
  const seen = told(await actor.attempt(`aioread f ${2 * MIB + PAGE} 0`))
  await scene.holdNothing()
  return { observed: seen, evidence: 'READs of 1000 bytes' }
}

/** The first of two requests fails. */
async function failures(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(2 * MIB, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_DIRECT} ${scene.guestPath(file)}`)
  const outcomes: string[] = []
  for (const [opcode, errno, operation] of [
    ['READ', 'EIO', `aioread f ${2 * MIB} 0`],
    ['WRITE', 'ENOSPC', `aio f ${2 * MIB} 0 ${NEW}`],
  ] as const) {
    await scene.fault(file, opcode, { errno, limit: 1 })
    outcomes.push(told(await actor.attempt(operation)))
    await scene.holdNothing()
  }
  scene.model(file).fill(MIB, MIB, NEW)
  return { observed: outcomes.join(', '), evidence: 'a read and a write of 2 MiB' }
}

const MANY = 200

/** More asynchronous writes than a server on /dev/fuse lets the guest have in flight: the rest waits for its turn. */
async function inTurn(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(MANY * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_DIRECT} ${scene.guestPath(file)}`)
  const written = await actor.do(`aiomany f ${MANY} ${PAGE} ${NEW}`)
  scene.model(file).fill(0, MANY * PAGE, NEW)
  expectRisingWrites(scene)
  return { observed: `${written} in turn`, evidence: '' }
}

export const splitAioCases: readonly LabCase[] = [
  {
    name: 'data/aio-read',
    question:
      'io_submit reads: the last byte, at the end, four pages of a file that the host has made longer',
    shares: ['direct', 'auto'],
    expected: () => `${FILL}x1, 0, ${FILL}x${4 * PAGE}`,
    run: reads,
  },
  {
    name: 'data/short-aio-read',
    question: 'an io_submit read of 2 MiB and a page, whose requests bring 1000 bytes each',
    shares: ['direct', 'auto'],
    expected: () => `${FILL}x1000`,
    run: shortReads,
  },
  {
    name: 'errors/aio',
    question: 'an io_submit read of 2 MiB, and a write, whose first request fails',
    shares: ['direct'],
    expected: () => 'EIO, ENOSPC',
    run: failures,
  },
  {
    name: 'async/in-turn',
    question: `${MANY} writes by one io_submit: the order of their requests`,
    shares: ['direct'],
    expected: () => `${MANY} in turn`,
    run: inTurn,
  },
]

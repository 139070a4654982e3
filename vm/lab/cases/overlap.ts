import { constants } from 'node:fs'
import { atOnce, type LabCase, type Observation, WRITERS } from '../case.js'
import { writesInParallel } from '../kernel-rules.js'
import type { Scene } from '../scene.js'
import {
  BLOCK_BYTES,
  describeTogether,
  finishTogether,
  type WriteOptions,
  writeTogether,
} from '../writers.js'

const { O_APPEND, O_DIRECT, O_RDWR } = constants
const FILE_BYTES = WRITERS * BLOCK_BYTES

/** Counts the synchronous writers of one file in flight at once. */
async function overlap(
  scene: Scene,
  {
    flags = O_RDWR,
    operation = 'write' as WriteOptions['operation'],
    sizeBytes = FILE_BYTES,
    offsetBytes = 0,
    strideBytes = BLOCK_BYTES,
  },
): Promise<Observation> {
  const file = scene.makeFile(sizeBytes)
  const actor = scene.addActor()
  await actor.do(`open f ${flags} ${scene.guestPath(file)}`)
  const together = await writeTogether(scene, actor, 'f', file, {
    operation,
    offsetBytes,
    strideBytes,
    appends: (flags & O_APPEND) !== 0 || operation === 'append',
  })
  return { observed: `${together.highest}`, evidence: describeTogether(together) }
}

/** Writers wait for a truncate in flight. After it, all of their writes extend the file. */
async function truncatedMeanwhile(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES)
  const [writer, other] = [scene.addActor(), scene.addActor()]
  for (const actor of [writer, other]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await scene.resetCounts()
  await scene.hold(file, 'SETATTR', 2)
  await scene.holdWrites(file, WRITERS)
  await other.start('truncate f 0')
  await scene.rest(other)
  for (let n = 0; n < WRITERS; n++) {
    await writer.start(`write f ${BLOCK_BYTES} ${n * BLOCK_BYTES} ${n + 1}`)
    scene.model(file).fill(n * BLOCK_BYTES, BLOCK_BYTES, n + 1)
    scene.model(file).expectWrite(n * BLOCK_BYTES, BLOCK_BYTES)
  }
  await scene.rest(writer)
  const early = await scene.writesInFlight(file)
  await scene.release()
  await other.join()
  const together = await finishTogether(scene, writer, file)
  const observed = early === 0 ? `${together.highest}` : `${early} before the truncate ended`
  return { observed, evidence: describeTogether(together) }
}

export const overlapCases: readonly LabCase[] = [
  {
    name: 'overlap/non-extending',
    question: 'writes within a file: in flight at once, of 8 synchronous writers',
    shares: ['direct', 'parallel', 'parallel+mmap'],
    expected: (facts) => atOnce(writesInParallel(facts)),
    run: (scene) => overlap(scene, {}),
  },
  {
    name: 'overlap/extending',
    question: 'writes that extend the file',
    shares: ['parallel', 'parallel+mmap'],
    expected: () => '1',
    run: (scene) => overlap(scene, { sizeBytes: BLOCK_BYTES, offsetBytes: BLOCK_BYTES }),
  },
  {
    name: 'overlap/straddling',
    question: 'writes that begin within the file and end behind it',
    shares: ['parallel', 'parallel+mmap'],
    expected: () => '1',
    run: (scene) => overlap(scene, { sizeBytes: BLOCK_BYTES, offsetBytes: BLOCK_BYTES / 2, strideBytes: 0 }),
  },
  {
    name: 'overlap/truncated-meanwhile',
    question: 'writes within the file, which a truncate makes writes that extend it while they wait',
    shares: ['parallel', 'parallel+mmap'],
    expected: () => '1',
    run: truncatedMeanwhile,
  },
  {
    name: 'overlap/append',
    question: 'writes with O_APPEND',
    shares: ['parallel', 'parallel+mmap'],
    expected: () => '1',
    run: (scene) => overlap(scene, { flags: O_RDWR | O_APPEND }),
  },
  {
    name: 'overlap/rwf-append',
    question: 'writes by pwritev2 with RWF_APPEND, to a file that is open without O_APPEND',
    shares: ['parallel', 'parallel+mmap'],
    expected: () => '1',
    run: (scene) => overlap(scene, { operation: 'append' }),
  },
  {
    name: 'overlap/o-direct',
    question: "writes with the guest's O_DIRECT, to a file that was not opened with FOPEN_DIRECT_IO",
    shares: ['auto'],
    expected: () => '1',
    run: (scene) => overlap(scene, { flags: O_RDWR | O_DIRECT }),
  },
]

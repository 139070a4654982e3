import { constants } from 'node:fs'
import { atOnce, type LabCase, type Observation, WRITERS } from '../case.js'
import { asyncWritesOverlap, asyncWritesOverlapWithoutODirect, writesInParallel } from '../kernel-rules.js'
import type { ShareName } from '../option-sets.js'
import type { Scene } from '../scene.js'
import { BLOCK_BYTES, describeTogether, MissingCall, type WriteOptions, writeTogether } from '../writers.js'

const { O_DIRECT, O_RDWR } = constants
/** All four combinations of the two flags, to see the effect of each. */
const SHARES: readonly ShareName[] = ['direct', 'parallel', 'direct-noasync', 'parallel-noasync']

/** Counts writes in flight. Each comes from its own thread, so that nothing else serializes them. */
async function overlap(
  scene: Scene,
  operation: WriteOptions['operation'],
  flags = O_RDWR | O_DIRECT,
): Promise<Observation> {
  const file = scene.makeFile(WRITERS * BLOCK_BYTES)
  const actor = scene.addActor()
  await actor.do(`open f ${flags} ${scene.guestPath(file)}`)
  try {
    const together = await writeTogether(scene, actor, 'f', file, { operation })
    return { observed: `${together.highest}`, evidence: describeTogether(together) }
  } catch (error) {
    if (!(error instanceof MissingCall)) throw error
    return { observed: undefined, evidence: "the guest's kernel was built without it" }
  }
}

export const asyncCases: readonly LabCase[] = [
  {
    name: 'async/synchronous',
    question: 'pwrite with O_DIRECT: writes in flight, of 8 (only the parallel flag matters)',
    shares: SHARES,
    expected: (facts) => atOnce(writesInParallel(facts)),
    run: (scene) => overlap(scene, 'write'),
  },
  {
    name: 'async/libaio',
    question: 'io_submit with O_DIRECT: writes in flight, of 8 (FUSE_ASYNC_DIO is enough)',
    shares: SHARES,
    expected: (facts) => atOnce(asyncWritesOverlap(facts)),
    run: (scene) => overlap(scene, 'aio'),
  },
  {
    name: 'async/libaio-buffered',
    question: 'io_submit without O_DIRECT to a direct-io file: writes in flight, of 8',
    shares: SHARES,
    expected: (facts) => {
      const overlaps = asyncWritesOverlapWithoutODirect(facts)
      return overlaps === undefined ? undefined : atOnce(overlaps)
    },
    run: (scene) => overlap(scene, 'aio', O_RDWR),
  },
  {
    name: 'async/io_uring',
    question: 'io_uring with O_DIRECT: writes in flight, of 8 (FUSE_ASYNC_DIO is enough)',
    shares: SHARES,
    expected: (facts) => atOnce(asyncWritesOverlap(facts)),
    run: (scene) => overlap(scene, 'uring'),
  },
]

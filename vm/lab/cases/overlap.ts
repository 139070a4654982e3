import { constants } from 'node:fs'
import { atOnce, type LabCase, type Observation, WRITERS } from '../case.js'
import { writesInParallel } from '../kernel-rules.js'
import type { Scene } from '../scene.js'
import { BLOCK_BYTES, describeTogether, writeTogether } from '../writers.js'

const { O_APPEND, O_DIRECT, O_RDWR } = constants
const FILE_BYTES = WRITERS * BLOCK_BYTES

/** How many synchronous writers of one file are in flight at once. */
async function overlap(
  scene: Scene,
  { flags = O_RDWR, sizeBytes = FILE_BYTES, offsetBytes = 0 },
): Promise<Observation> {
  const file = scene.makeFile(sizeBytes)
  const actor = scene.addActor()
  await actor.do(`open f ${flags} ${scene.guestPath(file)}`)
  const together = await writeTogether(scene, actor, 'f', file, { offsetBytes })
  return { observed: `${together.highest}`, evidence: describeTogether(together) }
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
    name: 'overlap/append',
    question: 'writes with O_APPEND',
    shares: ['parallel', 'parallel+mmap'],
    expected: () => '1',
    run: (scene) => overlap(scene, { flags: O_RDWR | O_APPEND }),
  },
  {
    name: 'overlap/o-direct',
    question: "writes with the guest's O_DIRECT, to a file that was not opened with FOPEN_DIRECT_IO",
    shares: ['auto'],
    expected: () => '1',
    run: (scene) => overlap(scene, { flags: O_RDWR | O_DIRECT }),
  },
]

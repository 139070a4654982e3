import type { GuestProgram } from '../guest/initramfs.js'
import type { GuestFacts } from './kernel-rules.js'
import type { ShareName } from './option-sets.js'
import type { Scene } from './scene.js'

/** What was seen in a guest. */
export interface Observation {
  /** Compared with what is expected, word for word; undefined when this guest cannot do it at all. */
  observed: string | undefined
  /** What the verdict stands on: figures of the device, and where the guest's threads waited. */
  evidence: string
}

/** One row of the matrix for each of its shares. */
export interface LabCase {
  /** FAMILY/NAME, for CASES=glob. */
  readonly name: string
  /** What it asks, in one line; the answer stands in the table's cells. */
  readonly question: string
  readonly shares: readonly ShareName[]
  /** How long it takes by design, if that is long. */
  readonly seconds?: number
  /** Its requests differ from run to run. */
  readonly races?: true
  /** What it needs in the guest beside io-actor. */
  readonly programs?: readonly GuestProgram[]
  /** What fs/fuse does by its rules; undefined where the question makes no sense. */
  expected(facts: GuestFacts): string | undefined
  run(scene: Scene): Promise<Observation>
}

/** Writers that are let loose on one file at a time. */
export const WRITERS = 8

/** How many of them are in flight at once. */
export function atOnce(parallel: boolean): string {
  return parallel ? `${WRITERS}` : '1'
}

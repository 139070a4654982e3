import type { GuestProgram } from '../guest/initramfs.js'
import type { GuestFacts } from './kernel-rules.js'
import type { ShareName } from './option-sets.js'
import type { Scene } from './scene.js'

/** The outcome of a case in a guest. */
export interface Observation {
  /** Compared word for word with the expectation. Undefined if this guest cannot run the case. */
  observed: string | undefined
  /** The grounds of the verdict: the device's figures, and the places where the guest's threads waited. */
  evidence: string
}

/** A case is one row of the matrix for each of its shares. */
export interface LabCase {
  /** FAMILY/NAME, for CASES=glob. */
  readonly name: string
  /** The question that the case asks, in one line. The table's cells are the answers. */
  readonly question: string
  readonly shares: readonly ShareName[]
  /** A share that it needs besides its own. */
  readonly beside?: ShareName
  /** Its planned duration, if that is long. */
  readonly seconds?: number
  /** Its requests differ from run to run. */
  readonly races?: true
  /** Programs that it needs in the guest besides io-actor. */
  readonly programs?: readonly GuestProgram[]
  /** It tests the virtio-fs driver, or what our device alone can do to it. */
  readonly needs?: 'virtio'
  /** Finds out in the guest what its version does not say. The facts count for `expected` and `run`. */
  probe?(scene: Scene): Promise<Partial<GuestFacts>>
  /** The outcome by the rules of fs/fuse. Undefined if the question does not apply. */
  expected(facts: GuestFacts): string | undefined
  run(scene: Scene): Promise<Observation>
}

/** Number of writers that write to one file together. */
export const WRITERS = 8

/** The expected number of writers in flight at once. */
export function atOnce(parallel: boolean): string {
  return parallel ? `${WRITERS}` : '1'
}

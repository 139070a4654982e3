import type { Neighbours } from 'vhost-user-ts'
import type { Milestone, WorkerMessage } from './worker-messages.js'

/** What the program of a share is given by the thread on which it runs. */
export interface ShareHost {
  tell(message: WorkerMessage): void
  /** Reports a milestone and waits until the program may continue. False: it is not wanted any more. */
  reach(milestone: Milestone): boolean | Promise<boolean>
  /** The same without returning to Node. Undefined on a thread with other work, which must not be blocked. */
  readonly block: ((milestone: Milestone) => boolean) | undefined
  /** The other shares of the thread. Undefined on a thread that never has others. */
  readonly neighbours: Neighbours | undefined
}

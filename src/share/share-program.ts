import { prepareOwnThread } from '../passthrough/own-thread.js'
import { loadFileSystem } from './load-file-system.js'
import { ShareService } from './share-service.js'
import {
  GIVEN_UP,
  type Milestone,
  milestones,
  type WorkerMessage,
  type WorkerStart,
} from './worker-messages.js'

/** What the program of a share is given by the thread on which it runs. */
export interface ShareHost {
  tell(message: WorkerMessage): void
  /** Reports a milestone and waits until the program may continue. False: it is not wanted any more. */
  reach(milestone: Milestone): boolean | Promise<boolean>
  /** The same for `taken`, which a thread waits for without returning to Node. */
  reachTaken(): void
}

/** Loads what a share needs, opens it, and serves it to its end. */
export async function runShare(start: WorkerStart, { tell, reach, reachTaken }: ShareHost): Promise<void> {
  const { config } = start
  const sharedDir = config.givesDirectory ? config.directory : undefined
  // A module may read whatever it needs: the host's file system is still there.
  const own = config.fileSystem && (await loadFileSystem(config.fileSystem, { sharedDir }))
  if (!(await reach('loaded'))) return
  prepareOwnThread(start.procFd)
  const service = new ShareService(start, tell, own)
  if (await reach('prepared')) await service.serve(reachTaken)
  else service.giveUp()
}

/** Returns true if the program may pass a milestone, false if it is not wanted any more, undefined if it has to wait. */
export function mayPass(allowed: number, milestone: Milestone): boolean | undefined {
  if (allowed === GIVEN_UP) return false
  return allowed > milestones.indexOf(milestone) ? true : undefined
}

import type { Neighbours } from 'vhost-user-ts'
import { prepareOwnThread } from '../passthrough/own-thread.js'
import { loadFileSystem } from './load-file-system.js'
import { alwaysOneThread } from './one-thread-reasons.js'
import { QueueProgram } from './queue-program.js'
import type { ShareHost } from './share-host.js'
import { ShareService } from './share-service.js'
import {
  GIVEN_UP,
  type Milestone,
  milestones,
  type WorkerMessage,
  type WorkerStart,
} from './worker-messages.js'

/** Loads what a share needs, opens it, and serves it to its end. */
export async function runShare(start: WorkerStart, host: ShareHost): Promise<void> {
  const { config } = start
  const sharedDir = config.givesDirectory ? config.directory : undefined
  // A module may read whatever it needs: the host's file system is still there.
  const own = config.fileSystem && (await loadFileSystem(config.fileSystem, { sharedDir }))
  const mayHaveThreads = alwaysOneThread(config, host.neighbours === undefined) === undefined
  const program = config.queueThreads > 1 && mayHaveThreads ? new QueueProgram(start) : undefined
  if (!(await host.reach('loaded'))) return
  prepareOwnThread(start.procFd)
  const service = new ShareService(start, host, own, program)
  if (await host.reach('prepared')) await service.serve()
  else service.giveUp()
}

/**
 * Runs the program of a share on a thread with other work, in Node's event loop. `changed` resolves after the next change of
 * the word at `allowed`. Resolves when the share has ended.
 */
export function runShareFromNode(
  start: WorkerStart,
  tell: (message: WorkerMessage) => void,
  changed: () => Promise<void>,
  neighbours: Neighbours | undefined,
): Promise<void> {
  const allowed = new Int32Array(start.allowed)
  const reach = async (milestone: Milestone): Promise<boolean> => {
    tell({ type: 'milestone', milestone })
    for (;;) {
      const next = changed()
      const may = mayPass(Atomics.load(allowed, 0), milestone)
      if (may !== undefined) return may
      await next
    }
  }
  return runShare(start, { tell, reach, block: undefined, neighbours })
}

/** Returns true if the program may pass a milestone, false if it is not wanted any more, undefined if it has to wait. */
export function mayPass(allowed: number, milestone: Milestone): boolean | undefined {
  if (allowed === GIVEN_UP) return false
  return allowed > milestones.indexOf(milestone) ? true : undefined
}

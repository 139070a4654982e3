import type { HandedRegion } from '../memory/guest-memory.js'
import { FrontendRequest } from '../protocol.js'
import type { LoopWork } from '../rings/ring-loop.js'
import type { HandedRing } from './handed-session.js'

/** A queue that another thread of the process serves for a while. The descriptors stay with the thread that lends it. */
export interface LentRing {
  readonly ring: HandedRing
  /** Those for kicks, calls and errors, as far as there are. */
  readonly fds: readonly number[]
}

/** Queues that are lent, and what is needed to serve them: plain data, which can be sent to a thread. */
export interface LentQueues {
  /** The virtio features, in hexadecimal. */
  readonly features: string
  readonly regions: readonly (HandedRegion & { readonly fd: number })[]
  readonly rings: readonly LentRing[]
}

/** What the other threads have to give up as they stand still. */
export interface GivenUp {
  /** The mapping of the guest's memory. */
  readonly memory: boolean
  /** What the guest has set up in the device. */
  readonly session: boolean
}

/** A back-end whose queues other threads can serve for a while. */
export interface QueueLender {
  /** Why no queue can be lent now, or undefined if one can. */
  readonly whyNotLend: string | undefined
  /** The numbers of the queues that run. */
  readonly runningQueues: readonly number[]
  /**
   * Stops the queues for which `isLent` returns true, and describes them for QueueBackends of other threads. Their
   * descriptors stay with this back-end. Undefined if the host carries out requests that take longer than `patienceMs`: then
   * nothing has changed.
   */
  lend(isLent: (queue: number) => boolean, patienceMs: number): LentQueues | undefined
  /** Goes on with queues that were lent, as the other threads have left them. */
  takeBack(rings: readonly HandedRing[]): void
  /** Sends the front-end away. Call it from a handler of the back-end's loop. */
  disconnect(): void
}

/** Lends the queues of a back-end to other threads, and takes them back. */
export interface QueueKeeper extends LoopWork {
  /** The front-end has sent a message, which is handled when this returns. */
  messageComes(): void
  /** Has every other thread stop, and takes all queues back with `QueueLender.takeBack`. */
  takeBack(givenUp: GivenUp): void
}

const memoryRequests: readonly number[] = [
  FrontendRequest.SET_MEM_TABLE,
  FrontendRequest.ADD_MEM_REG,
  FrontendRequest.REM_MEM_REG,
]

/** Requests that end what the guest has set up, or replace it. */
const sessionRequests: readonly number[] = [
  FrontendRequest.RESET_OWNER,
  FrontendRequest.RESET_DEVICE,
  FrontendRequest.SET_DEVICE_STATE_FD,
]

/** Requests that touch neither queues, memory, features nor the state of the device. */
const harmlessRequests: readonly number[] = [
  FrontendRequest.GET_FEATURES,
  FrontendRequest.GET_PROTOCOL_FEATURES,
  FrontendRequest.GET_QUEUE_NUM,
  FrontendRequest.GET_MAX_MEM_SLOTS,
  FrontendRequest.GET_CONFIG,
  FrontendRequest.SET_BACKEND_REQ_FD,
]

/** Returns true for a request that needs a device whose other threads stand still. */
function needsAllQueues(request: number): boolean {
  return !harmlessRequests.includes(request)
}

/** Returns what the other threads have to give up for a request. */
function givenUpFor(request: number): GivenUp {
  return { memory: memoryRequests.includes(request), session: sessionRequests.includes(request) }
}

/** Prepares for a message of the front-end. */
export function prepareFor(keeper: QueueKeeper, request: number): void {
  keeper.messageComes()
  if (needsAllQueues(request)) keeper.takeBack(givenUpFor(request))
}

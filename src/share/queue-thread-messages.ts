import type { MessagePort } from 'node:worker_threads'
import type { GivenUp, HandedRing, LentQueues } from 'vhost-user-ts'
import type { InitAgreement } from 'virtio-fs-ts/protocol'
import type { TableMemory } from '../passthrough/shared/table-memory.js'
import type { ShareConfig } from './share-config.js'
import type { LogLevel } from './worker-messages.js'

/** The data that a thread for queues starts with. The share's first thread, its owner, starts it. */
export interface QueueThreadStart {
  readonly queueThread: number
  readonly config: ShareConfig
  /** The shared directory, which stays the owner’s. */
  readonly rootFd: number
  /** O_PATH on /proc/self/fd. */
  readonly procFd: number
  readonly fdLimit: SharedArrayBuffer
  readonly counters: SharedArrayBuffer
  readonly tables: TableMemory
  /** For orders and news. An eventfd announces each order, another one all news. */
  readonly port: MessagePort
  readonly orderFd: number
  /** An eventfd that the end of the thread signals, even if its JavaScript cannot. */
  readonly endFd: number
  readonly newsFd: number
  /** Words at the places below. */
  readonly state: SharedArrayBuffer
  /** One word: the index of the least severe level to log, or -1. */
  readonly leastLevel: SharedArrayBuffer
}

/** What the thread does: see ThreadState. */
export const STATE = 0
/** The number of the last order to count, and what was counted: requests in flight, and on the rings. */
export const COUNTED = 1
export const IN_FLIGHT = 2
export const WAITING = 3
export const STATE_WORDS = 4

/** What a thread for queues does. Higher numbers than these: it is asked to stand still, by the order of this number. */
export const ThreadState = {
  Starting: 0,
  /** It has no queues, and touches nothing that the threads share. */
  Standing: 1,
  Serving: 2,
  /** It stands still, and its answer comes in a moment. */
  Answering: 3,
  /** It is gone, or about to be. */
  Ended: 4,
  Asked: 5,
} as const

export type QueueThreadOrder =
  | {
      readonly type: 'serve'
      readonly lent: LentQueues
      /** Undefined: the session that the thread knows goes on. */
      readonly agreement: InitAgreement | undefined
      /** Undefined: the settings that the thread knows are in force. */
      readonly settings: ShareConfig | undefined
    }
  | {
      readonly type: 'stand'
      readonly asked: number
      /** The longest wait for what the host carries out. Then requests are given up, or, with `mayServeOn`, served on. */
      readonly limitMs: number
      readonly mayServeOn: boolean
      readonly givenUp: GivenUp
    }
  | { readonly type: 'count'; readonly asked: number }
  | { readonly type: 'end' }

export type QueueThreadNews =
  | { readonly type: 'ready' }
  | { readonly type: 'stands'; readonly asked: number; readonly rings: readonly HandedRing[] }
  /** A request has come that the owner alone may serve. */
  | { readonly type: 'needs-owner' }
  /** From now on, the owner has to serve everything of this session. */
  | { readonly type: 'needs-one-thread'; readonly reason: string }
  /** The front-end has truncated the guest's memory. */
  | { readonly type: 'memory-lost' }
  | { readonly type: 'log'; readonly level: LogLevel; readonly fields: object; readonly text: string }
  /** `hasBegun`: it was ready before. */
  | { readonly type: 'failed'; readonly error: Error; readonly hasBegun: boolean }

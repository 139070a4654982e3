import type { MessagePort } from 'node:worker_threads'
import type { ShareConfig } from './share-config.js'

/** What a share's thread is started with. */
export interface WorkerStart {
  readonly config: ShareConfig
  /** The shared directory, as this process sees it once it is confined. */
  readonly root: string
  /** O_PATH on /proc/self/fd, which is out of reach later. */
  readonly procFd: number
  /** A listening unix socket, which the thread takes over. */
  readonly listenFd: number
  /** Descriptors that the share may hold at a time. */
  readonly fdLimit: number
  readonly logLevel: string
  /** Where commands come from: put into the port, then told by the eventfd, since the thread blocks outside JavaScript. */
  readonly commandPort: MessagePort
  readonly commandFd: number
  /** The memory of the share's counters. */
  readonly counters: SharedArrayBuffer
  /** One 32-bit word: chunks of the trace that the main thread has written. */
  readonly traceAcks: SharedArrayBuffer
  /** One 32-bit word: the number of the last milestone that the thread may go beyond. */
  readonly allowed: SharedArrayBuffer
}

/** Where a thread stops until the main thread lets it go on: all code loaded, and all that it serves opened. */
export const milestones = ['loaded', 'prepared'] as const
export type Milestone = (typeof milestones)[number]

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** What a share's thread tells the main thread. */
export type WorkerMessage =
  | { readonly type: 'milestone'; readonly milestone: Milestone }
  | { readonly type: 'log'; readonly level: LogLevel; readonly fields: object; readonly text: string }
  /** Waiting for a front-end. `engine`: who will wait for the host. */
  | { readonly type: 'listening'; readonly engine: string | undefined }
  /** The last front-end has left, and the share does not wait for another. */
  | { readonly type: 'ended' }
  /** `tookMs`: what the command took of the thread's time. */
  | {
      readonly type: 'answer'
      readonly id: number
      readonly tookMs: number
      readonly result?: unknown
      readonly error?: string
    }
  /** A piece of the trace; `first` begins a new file. */
  | { readonly type: 'trace'; readonly chunk: Uint8Array; readonly first: boolean }

/** What the main thread asks of a share's thread. Each is answered once, under its id. */
export interface WorkerCommand {
  readonly id: number
  readonly name: ShareCommandName
  readonly argument: unknown
}

export type ShareCommandName =
  | 'inspect'
  | 'inodes'
  | 'totals'
  | 'latency'
  | 'reset'
  | 'fault-add'
  | 'fault-list'
  | 'fault-remove'
  | 'fault-clear'
  | 'release'
  | 'withhold'
  | 'init'
  | 'trace'
  | 'locks'
  | 'locks-release'
  | 'state'

import type { MessagePort } from 'node:worker_threads'
import type { ShareConfig } from './share-config.js'

/**
 * The data that the program of a share starts with. A thread that sees no files also finds the file of the addon among its
 * data, which is loaded already: see native/load-addon.js.
 */
export interface WorkerStart {
  readonly config: ShareConfig
  /** The shared directory, as this process sees it once it is confined. */
  readonly root: string
  /** O_PATH on /proc/self/fd, which is out of reach later. */
  readonly procFd: number
  /** A listening unix socket; the thread takes ownership. -1 for a thread that takes over from another process. */
  readonly listenFd: number
  /** The socket over which another process hands everything over; undefined: the thread begins by itself. */
  readonly successionFd: number | undefined
  /** True: what the tree of the share holds comes along, and need not be counted. */
  readonly isCounted: boolean
  /** One 32-bit word: the most descriptors that the share may hold at a time. It changes with the number of shares. */
  readonly fdLimit: SharedArrayBuffer
  readonly logLevel: string
  /** The port for commands. An eventfd announces each one, because the thread blocks outside JavaScript. */
  readonly commandPort: MessagePort
  readonly commandFd: number
  /** The memory of the share's counters: a block for each thread of its queues. */
  readonly counters: readonly SharedArrayBuffer[]
  /** One 32-bit word: the number of trace chunks that the main thread has written. */
  readonly traceAcks: SharedArrayBuffer
  /**
   * The program of the thread as one script, and V8's code for it; undefined: it is in a file, which the thread can open before
   * it is confined. See LoadedProgram.
   */
  readonly text?: string | undefined
  readonly code?: Uint8Array | undefined
  /** One 32-bit word: the number of the last milestone that the thread may pass, or GIVEN_UP. */
  readonly allowed: SharedArrayBuffer
}

/** What a thread for several shares is told. A share goes by the number that it is given here. */
export type SharedThreadOrder =
  | { readonly type: 'start'; readonly share: number; readonly start: WorkerStart }
  /** The word at `allowed` of this share's start has changed. */
  | { readonly type: 'allowed'; readonly share: number }
  /** There are no shares any more, and none will come. */
  | { readonly type: 'end' }

/** What a thread for several shares tells of one of them. `gone`: it has ended, or has `failed` with an error. */
export interface SharedThreadNews {
  readonly share: number
  readonly message: WorkerMessage | { readonly type: 'gone'; readonly failed: Error | undefined }
}

/** The program of a share that is told this at a milestone ends. */
export const GIVEN_UP = -1

/**
 * The points at which a thread stops until the main thread allows it on: all code is loaded; everything it serves is
 * open; everything of another process is taken over.
 */
export const milestones = ['loaded', 'prepared', 'taken'] as const
export type Milestone = (typeof milestones)[number]

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Messages from a share's thread to the main thread. */
export type WorkerMessage =
  | { readonly type: 'milestone'; readonly milestone: Milestone }
  /** It cannot take over from another process. */
  | { readonly type: 'refused'; readonly reason: string }
  | { readonly type: 'log'; readonly level: LogLevel; readonly fields: object; readonly text: string }
  /** The share waits for a front-end. `engine`: the engine that waits for the host. */
  | { readonly type: 'listening'; readonly engine: string | undefined }
  /** The last front-end has left, and the share does not wait for another. */
  | { readonly type: 'ended' }
  /** `tookMs`: the time that the command took on the thread. */
  | {
      readonly type: 'answer'
      readonly id: number
      readonly tookMs: number
      readonly result?: unknown
      readonly error?: string
    }
  /** A piece of the trace; `first` begins a new file. */
  | { readonly type: 'trace'; readonly chunk: Uint8Array; readonly first: boolean }

/** A command of the main thread to a share's thread. Each is answered once, by its id. */
export interface WorkerCommand {
  readonly id: number
  readonly name: ShareCommandName | ShareChangeName
  readonly argument: unknown
}

/**
 * Changes of a running share, which come from the main thread itself. 'settings': a ShareConfig that replaces the present
 * one. 'log-level': the least severe level to log. 'remove': the share ends, and its guest gets errors. 'hand-over': a
 * HandOver; the share is suspended and handed to another process. 'resume': it goes on after all.
 */
export type ShareChangeName = 'settings' | 'log-level' | 'remove' | 'hand-over' | 'resume'

/** The socket that leads to the thread of the other process, and the longest time that it may take. */
export interface HandOver {
  readonly fd: number
  readonly limitMs: number
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
  | 'figures'
  | 'limits'
  | 'locks'
  | 'locks-release'
  | 'state'

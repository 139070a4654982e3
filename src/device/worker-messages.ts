import type { ShareConfig } from './share-config.js'

/** What a share's thread is started with. */
export interface WorkerStart {
  readonly config: ShareConfig
  /** A listening unix socket, which the thread takes over. */
  readonly listenFd: number
  /** Descriptors that the share may hold at a time. */
  readonly fdLimit: number
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** What a share's thread tells the main thread. */
export type WorkerMessage =
  | { readonly type: 'log'; readonly level: LogLevel; readonly fields: object; readonly text: string }
  /** Waiting for a front-end. */
  | { readonly type: 'listening' }
  /** The last front-end has left, and the share does not wait for another. */
  | { readonly type: 'ended' }

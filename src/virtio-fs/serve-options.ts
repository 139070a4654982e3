import type { ListenOptions, Logger } from 'vhost-user-ts'
import { SOCKET_PATH_MAX_BYTES } from 'vhost-user-ts/socket-path'
import { type CacheMode, cacheModes, type DirectIo, directIoModes } from './cache-policy.js'
import { wrong } from './tree/attributes.js'

/** Options for serving a file system. */
export interface ServeOptions extends Pick<ListenOptions, 'once' | 'signal' | 'pollUs' | 'stopTimeoutMs'> {
  /** The socket to which QEMU connects: `-chardev socket,path=`. */
  readonly socketPath: string
  /** The tag that the guest mounts. Default: QEMU's `tag=`. */
  readonly tag?: string
  /** How much the guest may cache: never, metadata, auto, always. Default auto. */
  readonly cache?: CacheMode
  /** Opens that bypass the guest's page cache. Default: `cache` decides. */
  readonly directIo?: DirectIo
  /** Writes to one file that is open for direct I/O may run in parallel in the guest. Default false. */
  readonly parallelDio?: boolean
  /** Files opened for direct I/O may be mapped shared. Default false. */
  readonly allowMmap?: boolean
  /** Opens keep the guest's cached data of a file. Default: `cache` decides. */
  readonly keepCache?: boolean
  /** The guest caches writes for a while. Default false. */
  readonly writeback?: boolean
  /** Refuse every change with EROFS. Default false. */
  readonly readOnly?: boolean
  /** Default: `cache` decides. */
  readonly entryTimeoutSec?: number
  readonly attrTimeoutSec?: number
  /** How long the guest may cache that a name does not exist. Default 0. */
  readonly negativeTimeoutSec?: number
  /** Answer with ETIMEDOUT if a method's promise takes longer. Default 0: never. */
  readonly methodTimeoutMs?: number
  /** The most nodes that the guest may know at a time. Beyond it gets ENFILE. Default, and no more than: 4 million. */
  readonly nodeLimit?: number
  /** Default: warnings and errors go to stderr. */
  readonly logger?: Logger
}

/** What an option must be: a test of a value, and words for an error. */
type Check = readonly [is: (value: unknown) => boolean, wanted: string]

const flag: Check = [(value) => typeof value === 'boolean', 'true or false']
const text: Check = [(value) => typeof value === 'string', 'a string']
const seconds: Check = [
  (value) => typeof value === 'number' && value >= 0 && value < 2 ** 32,
  'a number of seconds from 0 on',
]
const number: Check = [(value) => typeof value === 'number' && value >= 0, 'a number from 0 on']
const object: Check = [(value) => typeof value === 'object' && value !== null, 'an object']
const oneOf = (words: readonly string[]): Check => [
  (value) => words.some((word) => word === value),
  `one of ${words.join(', ')}`,
]

const checks: Readonly<Record<keyof ServeOptions, Check>> = {
  socketPath: [
    (value) => typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= SOCKET_PATH_MAX_BYTES,
    `the path of a socket, of at most ${SOCKET_PATH_MAX_BYTES} bytes`,
  ],
  tag: text,
  cache: oneOf(cacheModes),
  directIo: oneOf(directIoModes),
  parallelDio: flag,
  allowMmap: flag,
  keepCache: flag,
  writeback: flag,
  readOnly: flag,
  entryTimeoutSec: seconds,
  attrTimeoutSec: seconds,
  negativeTimeoutSec: seconds,
  methodTimeoutMs: number,
  nodeLimit: number,
  logger: object,
  once: flag,
  signal: object,
  pollUs: number,
  stopTimeoutMs: number,
}

/** Throws TypeError for options that a program without types may have got wrong. */
export function checkServeOptions(options: ServeOptions): void {
  // Without types there may be none.
  const given: Readonly<Record<string, unknown>> = Object.assign({ socketPath: undefined }, options)
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(checks, name)) throw new TypeError(`there is no option ${JSON.stringify(name)}`)
    // The name is a key of the table.
    const [is, wanted] = checks[name as keyof ServeOptions]
    if ((value !== undefined || name === 'socketPath') && !is(value)) wrong(name, value, wanted)
  }
}

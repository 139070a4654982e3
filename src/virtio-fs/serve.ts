import { EventEmitter } from 'node:events'
import { FaultLog, type ListenOptions, type Logger, listen, type Server } from 'vhost-user-ts'
import {
  type CacheChoices,
  type CacheMode,
  cachePolicy,
  type DirectIo,
  modeHasReaddirplus,
} from './cache-policy.js'
import type { FileSystem } from './file-system.js'
import { FsDevice } from './fs-device.js'
import type { InitAgreement, InitWishes } from './negotiation.js'
import { readOnly } from './read-only.js'
import { Session } from './session.js'
import { wrong } from './tree/attributes.js'
import type { FileTree } from './tree/node.js'
import { type TreePolicy, uniformPolicy } from './tree/policy.js'
import { TreeFileSystem, type TreeOptions } from './tree/tree-file-system.js'

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

/** A mount of a guest, as agreed at INIT. */
export interface MountInfo {
  /** The guest's version of the FUSE protocol: 7.minor. */
  readonly minor: number
  /** The flags agreed on, with the bit numbers of `InitFlag`. */
  readonly flags: bigint
}

interface Events {
  mount: [MountInfo]
  unmount: []
}

/** A file system served at a socket. */
export interface ServedFileSystem extends EventEmitter<Events> {
  readonly socketPath: string
  /** Resolves when a guest can connect. */
  readonly ready: Promise<void>
  /** Resolves when the service ends by `close`, the signal or `once`. Rejects with an error of this package. */
  readonly closed: Promise<void>
  /** Disconnects the guest, cancels its requests and removes the socket. */
  close(): Promise<void>
}

/**
 * Serves a file system to virtual machines, one after the other, from Node's event loop: a tree of nodes, or raw
 * operations. Rejects `ready` if it cannot listen.
 */
export function serveFileSystem(fileSystem: FileTree | FileSystem, options: ServeOptions): ServedFileSystem {
  return new Service(fileSystem, options)
}

class Service extends EventEmitter<Events> implements ServedFileSystem {
  readonly socketPath: string
  readonly ready: Promise<void>
  readonly closed: Promise<void>
  private server: Server | undefined

  constructor(fileSystem: FileTree | FileSystem, options: ServeOptions) {
    super()
    this.socketPath = options.socketPath
    const logger = options.logger ?? stderrLogger
    const faults = new FaultLog(logger)
    const report = (kind: string, fields: object) => faults.warn(kind, fields)
    const choices = choicesOf(options)
    const policy = uniformPolicy(cachePolicy(choices))
    const served = rawOf(fileSystem, policy, report, options)
    const session = new Session(
      options.readOnly === true ? readOnly(served) : served,
      wishesOf(options, choices, policy),
      {
        agreed: (agreement) => this.emit('mount', mountInfo(agreement)),
        ended: () => this.emit('unmount'),
        fault: report,
      },
    )
    const device = new FsDevice({ session, tag: options.tag })
    this.ready = new Promise((resolve) => {
      this.server = listen(options.socketPath, device, { ...options, logger })
      resolve()
    })
    this.closed = this.ready.then(() => this.server?.closed)
    // A failure reaches all that await these promises. Without them it must not end the process.
    this.ready.catch(() => {})
    this.closed.catch(() => {})
  }

  close(): Promise<void> {
    return this.server?.close() ?? Promise.resolve()
  }
}

/** Returns the raw file system of a tree, or the given raw one. Throws TypeError for anything else. */
export function rawOf(
  given: FileTree | FileSystem,
  policy: TreePolicy,
  report: (kind: string, fields: object) => void,
  limits: Pick<TreeOptions, 'methodTimeoutMs' | 'nodeLimit'> = {},
): FileSystem {
  if (typeof given === 'object' && given !== null) {
    if ('root' in given) {
      const { root } = given
      if (typeof root !== 'object' || root === null) wrong('root', root, 'a node: an object with methods')
      return new TreeFileSystem(given, { ...limits, policy, report })
    }
    if ('init' in given && typeof given.init === 'function') return given
  }
  wrong('the file system', given, 'an object with a root, or with operations and init')
}

function choicesOf(options: ServeOptions): CacheChoices {
  const { cache = 'auto', directIo = 'policy', parallelDio = false, keepCache } = options
  const { entryTimeoutSec, attrTimeoutSec, negativeTimeoutSec } = options
  return { cache, directIo, parallelDio, keepCache, entryTimeoutSec, attrTimeoutSec, negativeTimeoutSec }
}

function wishesOf(options: ServeOptions, choices: CacheChoices, policy: TreePolicy): InitWishes {
  return {
    readdirplus: modeHasReaddirplus(choices.cache),
    allowMmap: options.allowMmap === true,
    writeback: options.writeback === true,
    cacheSymlinks: policy.base.attrTimeoutSec > 1,
    posixAcl: false,
    securityLabel: false,
    killprivV2: false,
    posixLocks: false,
    flock: false,
    exportSupport: false,
    submounts: false,
    requiredFlags: 0n,
  }
}

function mountInfo({ guestMinor, flags }: InitAgreement): MountInfo {
  return { minor: guestMinor, flags }
}

const quiet = () => {}

const say = (fields: object, message: string) => {
  process.stderr.write(`virtio-fs: ${message}${describe(fields)}\n`)
}

/** Formats fields for a person: the stack of an error keeps its lines. */
function describe(fields: object): string {
  return Object.entries(fields)
    .map(([name, value]) => (name === 'error' ? `\n${value}` : ` ${name}=${JSON.stringify(value)}`))
    .join('')
}

const stderrLogger: Logger = Object.freeze({ debug: quiet, info: quiet, warn: say, error: say })

import { EventEmitter } from 'node:events'
import { FaultLog, type Logger, listen, type Server } from 'vhost-user-ts'
import { type CacheChoices, cachePolicy, modeHasReaddirplus } from './cache-policy.js'
import type { FileSystem } from './file-system.js'
import { FsDevice } from './fs-device.js'
import type { InitAgreement, InitWishes } from './negotiation.js'
import { readOnly } from './read-only.js'
import { checkServeOptions, type ServeOptions } from './serve-options.js'
import { Session } from './session.js'
import { wrong } from './tree/attributes.js'
import type { FileTree } from './tree/node.js'
import { type TreePolicy, uniformPolicy } from './tree/policy.js'
import { TreeFileSystem, type TreeOptions } from './tree/tree-file-system.js'
import { visibleLines } from './visible.js'

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
 * operations. Throws TypeError for wrong options. Rejects `ready` if it cannot listen.
 */
export function serveFileSystem(fileSystem: FileTree | FileSystem, options: ServeOptions): ServedFileSystem {
  checkServeOptions(options)
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

/** A name that a guest has chosen can be in any field. */
const say = (fields: object, message: string) => {
  process.stderr.write(visibleLines(`virtio-fs: ${message}${describe(fields)}\n`))
}

/** Lines after the first do not begin as a line of the log does, whatever an error says. */
const indented = (text: string) => text.replaceAll('\n', '\n  ')

/** Formats fields for a person: the stack of an error keeps its lines. */
function describe(fields: object): string {
  return Object.entries(fields)
    .map(([name, value]) =>
      name === 'error' ? `\n${indented(`${value}`)}` : ` ${name}=${JSON.stringify(value)}`,
    )
    .join('')
}

const stderrLogger: Logger = Object.freeze({ debug: quiet, info: quiet, warn: say, error: say })

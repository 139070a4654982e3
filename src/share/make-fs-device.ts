import { type FileTree, FsDevice, rawOf } from 'virtio-fs-ts'
import {
  type Counters,
  ENOTCONN,
  type FileSystem,
  type InitWishes,
  type Introspection,
  modeHasReaddirplus,
  readOnly,
  Session,
  type SessionObserver,
  wishFlags,
} from 'virtio-fs-ts/protocol'
import { Interceptor } from '../inspect/interceptor.js'
import type { OpenRules } from '../io-mode/open-rules.js'
import { PassthroughFileSystem, type ShareReports } from '../passthrough/passthrough-file-system.js'
import type { SharedPlace } from '../passthrough/shared/shared-space.js'
import { parseXattrMap } from '../passthrough/xattrs/xattr-map.js'
import { countedQuota } from './counted-quota.js'
import type { ShareConfig } from './share-config.js'
import { ShareLimits } from './share-limits.js'
import { ShareState } from './share-state.js'

/** The resources of a device, besides its configuration. */
export interface DevicePlace {
  /** The shared directory, as this process sees it. */
  readonly root: string
  /** O_PATH on /proc/self/fd. The caller keeps ownership. */
  readonly procFd: number
  readonly fdLimit: number | Int32Array
  readonly counters: Counters
  /** What the tree holds comes from another process: see ShareState.take. */
  readonly isCounted?: boolean
  /** For a device that serves a share together with devices on other threads. */
  readonly shared?: SharedPlace | undefined
}

/** A share's device, and the parts that commands and statistics use. */
export interface ShareDevice {
  readonly device: FsDevice
  readonly session: Session
  readonly interceptor: Interceptor
  readonly limits: ShareLimits
  /** O_PATH on the shared directory, which stays its own; -1 for a file system that a module made. */
  readonly rootFd: number
  /** Undefined for a file system that a module made: it cannot be handed over. */
  readonly state: ShareState | undefined
  /** Undefined for a file system that a module made. */
  readonly reports: ShareReports | undefined
  /** Puts other settings in force: caching at once, what is agreed on at INIT with the next mount. */
  change(config: ShareConfig): void
  /** Answers every request with ENOTCONN from now on. Those under way end as they do. */
  refuse(): void
  /** Gives the file system up. Requests in flight are answered, and all later ones fail with ENOTCONN. */
  close(): void
}

/** Makes the device that a configuration describes, on the directory at `place`. Throws if that cannot be opened. */
export function makeFsDevice(
  config: ShareConfig,
  { root, procFd, fdLimit, counters, isCounted = false, shared }: DevicePlace,
  rules: OpenRules,
  observer: SessionObserver,
): ShareDevice {
  const report = (kind: string, fields: object) => observer.fault(kind, fields)
  const passthrough = new PassthroughFileSystem(
    {
      directory: root,
      procFd,
      rules,
      allowDirectIo: config.allowDirectIo,
      allowSuid: config.allowSuid,
      allowDev: config.allowDev,
      allowProjectIds: config.allowProjectIds,
      preserveNoatime: config.preserveNoatime,
      writeback: config.writeback,
      fdLimit,
      inodeLimit: config.inodeLimit,
      lockTimeoutMs: config.lockTimeoutSec === undefined ? undefined : config.lockTimeoutSec * 1000,
      fileHandles: config.fileHandles,
      xattr: config.xattr,
      xattrMap: config.xattrMap === undefined ? undefined : parseXattrMap(config.xattrMap),
      translateUid: config.translateUid,
      translateGid: config.translateGid,
      migration: config.migration,
      threadPoolSize: config.threadPoolSize,
      quota: countedQuota(config),
      isCounted,
      report,
    },
    shared,
  )
  const made = assemble(config, counters, rules, observer, {
    fileSystem: passthrough,
    introspection: passthrough.introspection,
    keeps: passthrough.keeps,
    rootFd: passthrough.rootFd,
    state: (session) => new ShareState({ config, session, passthrough, warn: report }),
    quota: passthrough.quota,
    reports: passthrough.reports,
    close: () => passthrough.close(),
  })
  const { space } = passthrough
  if (space !== undefined) {
    made.device.enter = () => space.enter()
    made.device.leave = () => space.leave()
  }
  return made
}

/** Makes the device for a module's file system. Throws TypeError if it is not one. */
export function makeOwnDevice(
  config: ShareConfig,
  own: FileTree | FileSystem,
  counters: Counters,
  rules: OpenRules,
  observer: SessionObserver,
): ShareDevice {
  const report = (kind: string, fields: object) => observer.fault(kind, fields)
  const made = rawOf(own, rules, report, { nodeLimit: config.inodeLimit })
  return assemble(config, counters, rules, observer, {
    fileSystem: made,
    introspection: made.introspection ?? blind,
    keeps: { xattrs: false, acls: false },
    rootFd: -1,
    fixed: notKeptByTrees,
    close: () => {},
  })
}

/** The source of a device's files, and the differences between a directory of the host and a module's file system. */
interface Served {
  readonly fileSystem: FileSystem
  readonly introspection: Introspection
  readonly keeps: PassthroughFileSystem['keeps']
  readonly rootFd: number
  /** Flags that no option changes. */
  readonly fixed?: Partial<InitWishes>
  /** Without it, the share cannot move to another device. */
  state?(session: Session): ShareState
  readonly quota?: PassthroughFileSystem['quota']
  readonly reports?: ShareReports
  close(): void
}

function assemble(
  config: ShareConfig,
  counters: Counters,
  rules: OpenRules,
  observer: SessionObserver,
  served: Served,
): ShareDevice {
  const wishes = (now: ShareConfig) => ({ ...wishesOf(now, rules, served.keeps), ...served.fixed })
  const fileSystem = config.readonly ? readOnly(served.fileSystem) : served.fileSystem
  const session = new Session(fileSystem, wishes(config), observer, counters)
  const interceptor = new Interceptor(session, served.introspection, (kind, fields) =>
    observer.fault(kind, fields),
  )
  const state = served.state?.(session)
  const device = new FsDevice({
    session,
    interposer: interceptor,
    tag: config.tag,
    ...(state === undefined ? {} : { state }),
  })
  const limits = new ShareLimits(session, config.rateLimits, served.quota)
  return {
    device,
    session,
    interceptor,
    limits,
    rootFd: served.rootFd,
    state,
    reports: served.reports,
    change: (next) => {
      rules.replace(next, next.rules)
      limits.replace(next.rateLimits, next.quota)
      session.wishes = wishes(next)
      state?.change(next)
    },
    refuse: () => session.refuseAll(ENOTCONN),
    close: () => {
      device.reset()
      session.shut(ENOTCONN)
      device.detach()
      served.close()
    },
  }
}

/** Options without effect on a module's file system: its guests' kernels handle locks and privileges themselves. */
const notKeptByTrees = {
  posixAcl: false,
  securityLabel: false,
  killprivV2: false,
  posixLocks: false,
  flock: false,
  exportSupport: false,
  submounts: false,
  requiredFlags: 0n,
}

/** Reports no inodes. */
const blind: Introspection = { pathOf: () => undefined, sizeOf: () => -1, openFlagsOf: () => 0 }

/** The features that the share asks for at INIT. */
function wishesOf(config: ShareConfig, rules: OpenRules, keeps: PassthroughFileSystem['keeps']): InitWishes {
  return {
    posixAcl: config.posixAcl === 'always' || (config.posixAcl === 'auto' && keeps.acls),
    securityLabel: config.securityLabel !== 'never' && keeps.xattrs,
    killprivV2: config.killprivV2,
    posixLocks: config.posixLocks,
    flock: config.flock,
    exportSupport: config.exportSupport,
    submounts: config.announceSubmounts,
    requiredFlags:
      (config.posixAcl === 'always' ? wishFlags.posixAcl : 0n) |
      (config.securityLabel === 'always' ? wishFlags.securityLabel : 0n),
    readdirplus: config.readdirplus && modeHasReaddirplus(config.cache),
    allowMmap: config.allowMmap,
    writeback: config.writeback,
    cacheSymlinks: rules.base.attrTimeoutSec > 1,
  }
}

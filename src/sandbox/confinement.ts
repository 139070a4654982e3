import { basename, dirname } from 'node:path'
import type { Configuration } from '../config/configuration.js'
import { type IdRange, onlyItself } from '../config/id-map.js'
import type { Sandbox } from '../config/options/process-options.js'
import { UserError } from '../config/user-error.js'
import { keptCapabilities } from './capabilities.js'

/** A directory of the host that the confined process sees, and its name in the new root. */
export interface RootEntry {
  readonly name: string
  readonly path: string
  readonly readonly: boolean
}

/** The users and groups of a user namespace. */
export interface UserNamespace {
  readonly users: readonly IdRange[]
  readonly groups: readonly IdRange[]
}

/** The user and group that start this process. */
export interface Starter {
  readonly uid: number
  readonly gid: number
}

/** The files and privileges that a confined process has. */
export interface Confinement {
  readonly sandbox: Sandbox
  /** The ids in the process's own user namespace; undefined: it has none. */
  readonly userNamespace: UserNamespace | undefined
  readonly capabilities: readonly string[]
  readonly entries: readonly RootEntry[]
  /** By share number: its directory and its trace file, as paths in the new root. */
  readonly roots: readonly string[]
  readonly traces: readonly (string | undefined)[]
}

/**
 * Plans what --sandbox and --modcaps mean for these shares. Throws UserError if the options contradict each other.
 */
export function planConfinement(configuration: Configuration, starter: Starter): Confinement {
  const { sandbox, modcaps, shares, userMap, groupMap } = configuration
  const handles = shares.some(
    ({ fileHandles, migration }) => fileHandles !== 'never' || migration.mode === 'file-handles',
  )
  const capabilities = keptCapabilities(modcaps, handles)
  if (sandbox === 'namespace') return planNamespaces(configuration, capabilities, starter)
  if (userMap.length + groupMap.length > 0) {
    throw new UserError(
      `--uid-map and --gid-map need --sandbox namespace: ${sandbox} has no users of its own`,
    )
  }
  const alone = shares.find(({ file }) => file !== undefined)
  if (alone !== undefined) {
    throw new UserError(
      `--sandbox ${sandbox} cannot share ${alone.directory} alone, which is a file: use namespace`,
    )
  }
  const traces = shares.map(({ trace }) => trace)
  const root = starter.uid === 0
  if (sandbox === 'none') {
    const roots = shares.map(({ directory }) => directory)
    return {
      sandbox,
      userNamespace: undefined,
      capabilities: root ? capabilities : [],
      entries: [],
      roots,
      traces,
    }
  }
  if (!root) throw new UserError('--sandbox chroot needs root: use --sandbox namespace')
  const [share, another] = shares
  if (share === undefined || another !== undefined) {
    throw new UserError('--sandbox chroot holds one share: use --sandbox namespace for several')
  }
  if (share.trace !== undefined) {
    throw new UserError(
      '--trace writes outside of the share, where --sandbox chroot does not reach: use namespace',
    )
  }
  const entry = { name: 's0', path: share.directory, readonly: share.readonly }
  return { sandbox, userNamespace: undefined, capabilities, entries: [entry], roots: ['/'], traces }
}

function planNamespaces(
  { shares, userMap, groupMap }: Configuration,
  capabilities: readonly string[],
  starter: Starter,
): Confinement {
  const userNamespace = planUsers(userMap, groupMap, starter)
  const ofShares = shares.map(({ directory, file, readonly }, n) => ({
    // A single file gets a directory of its own with nothing else in it.
    name: file === undefined ? `s${n}` : `s${n}/${file}`,
    path: directory,
    readonly,
  }))
  const ofTraces = shares.flatMap(({ trace }, n) =>
    trace === undefined ? [] : [{ name: `t${n}`, path: dirname(trace), readonly: false }],
  )
  return {
    sandbox: 'namespace',
    userNamespace,
    capabilities: userNamespace === undefined ? capabilities : capabilitiesOver(userNamespace, capabilities),
    entries: [...ofShares, ...ofTraces],
    roots: shares.map((_, n) => `/s${n}`),
    traces: shares.map(({ trace }, n) => (trace === undefined ? undefined : `/t${n}/${basename(trace)}`)),
  }
}

/** Root needs a user namespace only on request. Other users need one to make any other namespace. */
function planUsers(
  userMap: readonly IdRange[],
  groupMap: readonly IdRange[],
  { uid, gid }: Starter,
): UserNamespace | undefined {
  if (userMap.length + groupMap.length === 0 && uid === 0) return undefined
  return {
    users: userMap.length > 0 ? userMap : onlyItself(uid),
    groups: groupMap.length > 0 ? groupMap : onlyItself(gid),
  }
}

/**
 * The capabilities of user 0 in a user namespace. It cannot open file handles. In a namespace with a single user it
 * also needs no capability to act as another user.
 */
function capabilitiesOver({ users }: UserNamespace, capabilities: readonly string[]): readonly string[] {
  if (!users.some(({ inside }) => inside === 0)) return []
  const alone = users.length === 1 && users[0]?.count === 1
  const without = new Set(alone ? ['DAC_READ_SEARCH', 'SETUID', 'SETGID'] : ['DAC_READ_SEARCH'])
  return capabilities.filter((name) => !without.has(name))
}

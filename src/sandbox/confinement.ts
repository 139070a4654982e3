import { basename, dirname } from 'node:path'
import type { Configuration } from '../config/configuration.js'
import { UserError } from '../config/user-error.js'
import type { ShareConfig } from '../device/share-config.js'
import { keptCapabilities } from './capabilities.js'
import type { Sandbox } from './kinds.js'

/** A directory of the host that the confined process sees, under a name in its root. */
export interface RootEntry {
  readonly name: string
  readonly path: string
  readonly readonly: boolean
}

/** What a confined process sees and may do. */
export interface Confinement {
  readonly sandbox: Sandbox
  /** In a user namespace: for somebody who is not root. */
  readonly userNamespace: boolean
  readonly capabilities: readonly string[]
  readonly entries: readonly RootEntry[]
  /** By the number of the share: its directory, and its trace, as paths inside. */
  readonly roots: readonly string[]
  readonly traces: readonly (string | undefined)[]
}

/** What --sandbox and --modcaps mean for these shares. Throws UserError when they do not go together. */
export function planConfinement({ sandbox, modcaps, shares }: Configuration, uid: number): Confinement {
  const capabilities = keptCapabilities(modcaps)
  if (sandbox === 'namespace') return planNamespaces(shares, capabilities, uid)
  const traces = shares.map(({ trace }) => trace)
  if (sandbox === 'none') {
    const roots = shares.map(({ directory }) => directory)
    return { sandbox, userNamespace: false, capabilities: [], entries: [], roots, traces }
  }
  if (uid !== 0) throw new UserError('--sandbox chroot needs root: use --sandbox namespace')
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
  return { sandbox, userNamespace: false, capabilities, entries: [entry], roots: ['/'], traces }
}

function planNamespaces(
  shares: readonly ShareConfig[],
  capabilities: readonly string[],
  uid: number,
): Confinement {
  const ofShares = shares.map(({ directory, readonly }, n) => ({ name: `s${n}`, path: directory, readonly }))
  const ofTraces = shares.flatMap(({ trace }, n) =>
    trace === undefined ? [] : [{ name: `t${n}`, path: dirname(trace), readonly: false }],
  )
  return {
    sandbox: 'namespace',
    userNamespace: uid !== 0,
    capabilities: uid === 0 ? capabilities : [],
    entries: [...ofShares, ...ofTraces],
    roots: ofShares.map(({ name }) => `/${name}`),
    traces: shares.map(({ trace }, n) => (trace === undefined ? undefined : `/t${n}/${basename(trace)}`)),
  }
}

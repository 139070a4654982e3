import { Fattr } from './fuse-abi.js'
import { concat, type Id, u32, u64 } from './fuse-wire.js'

const SEC_NS = 1_000_000_000n

/** The attributes that SETATTR sets; times in nanoseconds. */
export interface AttrChange {
  mode?: number
  uid?: number
  gid?: number
  size?: Id
  atimeNs?: bigint | 'now'
  mtimeNs?: bigint | 'now'
  handle?: Id
  /** The caller may not keep set-user-id and set-group-id bits. */
  kill?: boolean
}

/** fuse_release_in; flush and release flags are those of no lock. */
export function releaseArgs(handle: Id): Uint8Array {
  return concat(u64(handle), u32(0, 0), u64(0))
}

/** fuse_setattr_in. */
export function setattrArgs(change: AttrChange): Uint8Array {
  const { mode, uid, gid, size, handle } = change
  const atime = timeOf(change.atimeNs, Fattr.ATIME, Fattr.ATIME_NOW)
  const mtime = timeOf(change.mtimeNs, Fattr.MTIME, Fattr.MTIME_NOW)
  const valid =
    (mode === undefined ? 0 : Fattr.MODE) |
    (uid === undefined ? 0 : Fattr.UID) |
    (gid === undefined ? 0 : Fattr.GID) |
    (size === undefined ? 0 : Fattr.SIZE) |
    (handle === undefined ? 0 : Fattr.FH) |
    (change.kill === true ? Fattr.KILL_SUIDGID : 0) |
    atime.valid |
    mtime.valid
  return concat(
    u32(valid, 0),
    u64(handle ?? 0, size ?? 0, 0, atime.sec, mtime.sec, 0),
    u32(atime.nsec, mtime.nsec, 0, mode ?? 0, 0, uid ?? 0, gid ?? 0, 0),
  )
}

function timeOf(time: bigint | 'now' | undefined, bit: number, nowBit: number) {
  if (time === undefined) return { valid: 0, sec: 0n, nsec: 0 }
  if (time === 'now') return { valid: bit | nowBit, sec: 0n, nsec: 0 }
  const nsec = ((time % SEC_NS) + SEC_NS) % SEC_NS
  return { valid: bit, sec: (time - nsec) / SEC_NS, nsec: Number(nsec) }
}

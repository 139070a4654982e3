/** Operations on extended attributes, locks, flags of inodes, and STATX, as a guest kernel sends them. */
import { IOCTL_32BIT, IOCTL_DIR, LK_FLOCK, Op } from './fuse-abi.js'
import { type Call, EMPTY, type FuseClient } from './fuse-client.js'
import type { Name } from './fuse-guest.js'
import { concat, cstring, type Id, Reader, u32, u64 } from './fuse-wire.js'

const LAST_BYTE = (1n << 63n) - 1n
const STATX_REPLY_BYTES = 288

/** With `flags`, uses the longer form of SETXATTR_EXT, with these setxattr_flags. */
export function setxattr(
  fs: FuseClient,
  nodeid: Id,
  name: Name,
  value: Uint8Array,
  flags = 0,
  extFlags?: number,
): void {
  const ext = extFlags === undefined ? new Uint8Array(0) : u32(extFlags, 0)
  const args = concat(u32(value.length, flags), ext, cstring(name), value)
  fs.succeed({ opcode: Op.SETXATTR, nodeid, args, reply: EMPTY })
}

/** Returns the value, up to `roomBytes` of it. */
export function getxattr(fs: FuseClient, nodeid: Id, name: Name, roomBytes = 65_536): Uint8Array {
  const args = concat(u32(roomBytes, 0), cstring(name))
  const r = fs.succeed({ opcode: Op.GETXATTR, nodeid, args, reply: { argBytes: 0, dataBytes: roomBytes } })
  return r.take(r.leftBytes)
}

export function getxattrSize(fs: FuseClient, nodeid: Id, name: Name): number {
  const args = concat(u32(0, 0), cstring(name))
  return fs.succeed({ opcode: Op.GETXATTR, nodeid, args, reply: { argBytes: 8 } }).u32()
}

export function listxattr(fs: FuseClient, nodeid: Id, roomBytes = 65_536): string[] {
  const reply = { argBytes: 0, dataBytes: roomBytes }
  const r = fs.succeed({ opcode: Op.LISTXATTR, nodeid, args: u32(roomBytes, 0), reply })
  return Buffer.from(r.take(r.leftBytes)).toString('latin1').split('\0').slice(0, -1)
}

export function listxattrSize(fs: FuseClient, nodeid: Id): number {
  return fs.succeed({ opcode: Op.LISTXATTR, nodeid, args: u32(0, 0), reply: { argBytes: 8 } }).u32()
}

export function removexattr(fs: FuseClient, nodeid: Id, name: Name): void {
  fs.succeed({ opcode: Op.REMOVEXATTR, nodeid, args: cstring(name), reply: EMPTY })
}

/** The tested part of fuse_statx. Times in nanoseconds. */
export interface Statx {
  readonly mask: number
  readonly mode: number
  readonly size: bigint
  readonly ino: bigint
  readonly uid: number
  readonly gid: number
  readonly btimeNs: bigint
  readonly mtimeNs: bigint
  readonly rest: Uint8Array
}

export function statx(fs: FuseClient, nodeid: Id, mask: number): Statx {
  const args = concat(u32(0, 0), u64(0), u32(0, mask))
  const body = fs.succeed({ opcode: Op.STATX, nodeid, args, reply: { argBytes: STATX_REPLY_BYTES } })
  body.take(32)
  const whole = body.take(body.leftBytes)
  const at = (byte: number) => new Reader(whole.subarray(byte))
  const timeNs = (byte: number) => at(byte).i64() * 1_000_000_000n + BigInt(at(byte + 8).u32())
  return {
    mask: at(0).u32(),
    uid: at(20).u32(),
    gid: at(24).u32(),
    mode: at(28).u16(),
    ino: at(32).u64(),
    size: at(40).u64(),
    btimeNs: timeNs(80),
    mtimeNs: timeNs(112),
    rest: whole.subarray(144),
  }
}

export const F_RDLCK = 0
export const F_WRLCK = 1
export const F_UNLCK = 2

/** A lock that a process of the guest wants: its owner, its bytes (the last one included), its type. */
export interface WantedLock {
  readonly owner: Id
  readonly type: number
  readonly start?: Id
  readonly last?: Id
  readonly pid?: number
  readonly flock?: boolean
}

function lockArgs(
  handle: Id,
  { owner, type, start = 0, last = LAST_BYTE, pid = 77, flock = false }: WantedLock,
) {
  return concat(u64(handle, owner, start, last), u32(type, pid, flock ? LK_FLOCK : 0, 0))
}

export function setlk(fs: FuseClient, nodeid: Id, handle: Id, lock: WantedLock): void {
  fs.succeed({ opcode: Op.SETLK, nodeid, args: lockArgs(handle, lock), reply: EMPTY })
}

/** Starts a SETLKW; the reply comes when the lock is granted. */
export function startSetlkw(fs: FuseClient, nodeid: Id, handle: Id, lock: WantedLock): Call {
  return fs.start({ opcode: Op.SETLKW, nodeid, args: lockArgs(handle, lock), reply: EMPTY })
}

export function getlk(fs: FuseClient, nodeid: Id, handle: Id, lock: WantedLock) {
  const args = lockArgs(handle, lock)
  const r = fs.succeed({ opcode: Op.GETLK, nodeid, args, reply: { argBytes: 24 } })
  return { start: r.u64(), last: r.u64(), type: r.u32(), pid: r.u32() }
}

/** FLUSH by the lock owner who closes a descriptor. */
export function flushBy(fs: FuseClient, nodeid: Id, handle: Id, owner: Id): void {
  fs.succeed({ opcode: Op.FLUSH, nodeid, args: u64(handle, 0, owner), reply: EMPTY })
}

export const FS_IOC_GETFLAGS = 0x8008_6601
export const FS_IOC_SETFLAGS = 0x4008_6602
/** The same two of a kernel whose `long` has 32 bits. */
export const FS_IOC32_GETFLAGS = 0x8004_6601
export const FS_IOC32_SETFLAGS = 0x4004_6602
export const FS_IOC_FSGETXATTR = 0x801c_581f
export const FS_IOC_FSSETXATTR = 0x401c_5820

/** Returns the argument in the reply. */
export function ioctl(
  fs: FuseClient,
  nodeid: Id,
  handle: Id,
  command: number,
  argument: Uint8Array,
  { directory = false, is32Bit = false, outBytes = argument.length, inBytes = argument.length } = {},
): Uint8Array {
  const flags = (directory ? IOCTL_DIR : 0) | (is32Bit ? IOCTL_32BIT : 0)
  const head = concat(u64(handle), u32(flags, command), u64(0), u32(inBytes, outBytes))
  const reply = { argBytes: 16, dataBytes: outBytes }
  const r = fs.succeed({ opcode: Op.IOCTL, nodeid, args: concat(head, argument), reply })
  r.take(16)
  return r.take(r.leftBytes)
}

/** An extension with one security context. */
export function contextExtension(name: string, value: Uint8Array): Uint8Array {
  const context = concat(u32(value.length, 0), cstring(name), value)
  const sizeBytes = 8 + ((context.length + 7) & ~7)
  const extension = new Uint8Array(sizeBytes)
  extension.set(concat(u32(sizeBytes, 1), context))
  return extension
}

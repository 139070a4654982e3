import { strict as assert } from 'node:assert'
import { flagBits, Init, Op, READ_LOCKOWNER, ROOT_ID } from './fuse-abi.js'
import { type AttrChange, releaseArgs, setattrArgs } from './fuse-args.js'
import { EMPTY, FuseClient, type GuestRequest, HIPRIO_QUEUE } from './fuse-client.js'
import {
  type AttrReply,
  concat,
  cstring,
  type Dirent,
  ENTRY_BYTES,
  type Entry,
  type Id,
  type InitReply,
  type Opened,
  readAttrReply,
  readDirents,
  readEntry,
  readInitReply,
  readOpened,
  readStatfs,
  type Statfs,
  u32,
  u64,
} from './fuse-wire.js'

export type Name = string | Uint8Array

const ATTR_REPLY = { argBytes: 104 }
const ENTRY_REPLY = { argBytes: ENTRY_BYTES }
const OPEN_REPLY = { argBytes: 16 }
const READLINK_ROOM_BYTES = 4095
const INIT_ARG_BYTES = 64
const GETATTR_FH = 1

export interface InitOffer {
  major?: number
  minor?: number
  maxReadahead?: number
  flags?: bigint
  /** Bytes of arguments; 16 is what guests without INIT_EXT send. */
  argBytes?: number
}

/** The offer of Linux 7.3, as far as most tests need it. */
export const LINUX_7_3: Required<InitOffer> = Object.freeze({
  major: 7,
  minor: 46,
  maxReadahead: 131_072,
  flags: flagBits(
    Init.ASYNC_READ,
    Init.ATOMIC_O_TRUNC,
    Init.BIG_WRITES,
    Init.AUTO_INVAL_DATA,
    Init.DO_READDIRPLUS,
    Init.READDIRPLUS_AUTO,
    Init.ASYNC_DIO,
    Init.WRITEBACK_CACHE,
    Init.PARALLEL_DIROPS,
    Init.MAX_PAGES,
    Init.CACHE_SYMLINKS,
    Init.SUBMOUNTS,
    Init.INIT_EXT,
    Init.CREATE_SUPP_GROUP,
    Init.DIRECT_IO_ALLOW_MMAP,
    Init.ALLOW_IDMAP,
    Init.HAS_IOCTL_DIR,
    Init.HANDLE_KILLPRIV_V2,
  ),
  argBytes: INIT_ARG_BYTES,
})

/**
 * One method for each operation of a guest kernel. Each throws FuseError if the device refuses. Lookups granted by
 * replies are counted; `forgetAll` gives them back.
 */
export class FuseGuest extends FuseClient {
  /** Lookups that the device has granted, by node id. */
  readonly lookups = new Map<bigint, bigint>()

  init(offer: InitOffer = {}): InitReply {
    const { major, minor, maxReadahead, flags, argBytes } = { ...LINUX_7_3, ...offer }
    const words = [major, minor, maxReadahead, Number(flags & 0xffff_ffffn), Number(flags >> 32n)]
    const args = new Uint8Array(Math.max(argBytes, 20))
    args.set(u32(...words))
    const reply = { argBytes: 0, dataBytes: 64 }
    this.lookups.clear()
    return readInitReply(
      this.succeed({ opcode: Op.INIT, nodeid: 0, args: args.subarray(0, argBytes), reply }),
    )
  }

  destroy(): void {
    this.succeed({ opcode: Op.DESTROY, nodeid: 0, reply: EMPTY })
    this.lookups.clear()
  }

  lookup(parent: Id, name: Name): Entry {
    return this.entry(Op.LOOKUP, parent, cstring(name))
  }

  /** Uses the priority queue, as Linux does. */
  forget(nodeid: Id, count: Id): void {
    this.call({ opcode: Op.FORGET, nodeid, args: u64(count), reply: 'none' }, HIPRIO_QUEUE)
    this.uncount(nodeid, count)
  }

  batchForget(items: readonly (readonly [Id, Id])[]): void {
    const args = concat(u32(items.length, 0), ...items.map(([nodeid, count]) => u64(nodeid, count)))
    this.call({ opcode: Op.BATCH_FORGET, nodeid: 0, args, reply: 'none' }, HIPRIO_QUEUE)
    for (const [nodeid, count] of items) this.uncount(nodeid, count)
  }

  /** Counts the lookup of a reply to a request of `start`. */
  granted(entry: Entry): void {
    this.count(entry)
  }

  /** Gives back every lookup but the root's. */
  forgetAll(): void {
    for (const [nodeid, count] of [...this.lookups]) this.forget(nodeid, count)
  }

  getattr(nodeid: Id, handle?: Id): AttrReply {
    return readAttrReply(this.succeed(this.getattrRequest(nodeid, handle)))
  }

  /** A GETATTR to `start`, whose reply may be long in coming. */
  getattrRequest(nodeid: Id, handle?: Id): GuestRequest {
    const args = concat(u32(handle === undefined ? 0 : GETATTR_FH, 0), u64(handle ?? 0))
    return { opcode: Op.GETATTR, nodeid, args, reply: ATTR_REPLY }
  }

  setattr(nodeid: Id, change: AttrChange): AttrReply {
    return readAttrReply(
      this.succeed({ opcode: Op.SETATTR, nodeid, args: setattrArgs(change), reply: ATTR_REPLY }),
    )
  }

  readlink(nodeid: Id): string {
    const reply = { argBytes: 0, dataBytes: READLINK_ROOM_BYTES }
    const r = this.succeed({ opcode: Op.READLINK, nodeid, reply })
    return Buffer.from(r.take(r.leftBytes)).toString()
  }

  symlink(parent: Id, name: Name, target: Name): Entry {
    return this.entry(Op.SYMLINK, parent, concat(cstring(name), cstring(target)))
  }

  mknod(parent: Id, name: Name, mode: number, rdev = 0, umask = 0): Entry {
    return this.entry(Op.MKNOD, parent, concat(u32(mode, rdev, umask, 0), cstring(name)))
  }

  mkdir(parent: Id, name: Name, mode = 0o755, umask = 0): Entry {
    return this.entry(Op.MKDIR, parent, concat(u32(mode, umask), cstring(name)))
  }

  unlink(parent: Id, name: Name): void {
    this.succeed({ opcode: Op.UNLINK, nodeid: parent, args: cstring(name), reply: EMPTY })
  }

  rmdir(parent: Id, name: Name): void {
    this.succeed({ opcode: Op.RMDIR, nodeid: parent, args: cstring(name), reply: EMPTY })
  }

  rename(from: Id, name: Name, to: Id, newName: Name): void {
    const args = concat(u64(to), cstring(name), cstring(newName))
    this.succeed({ opcode: Op.RENAME, nodeid: from, args, reply: EMPTY })
  }

  rename2(from: Id, name: Name, to: Id, newName: Name, flags: number): void {
    const args = concat(u64(to), u32(flags, 0), cstring(name), cstring(newName))
    this.succeed({ opcode: Op.RENAME2, nodeid: from, args, reply: EMPTY })
  }

  link(nodeid: Id, parent: Id, name: Name): Entry {
    return this.entry(Op.LINK, parent, concat(u64(nodeid), cstring(name)))
  }

  open(nodeid: Id, flags: number, openFlags = 0): Opened {
    const args = u32(flags, openFlags)
    return readOpened(this.succeed({ opcode: Op.OPEN, nodeid, args, reply: OPEN_REPLY }))
  }

  create(parent: Id, name: Name, flags: number, mode = 0o644, umask = 0, openFlags = 0): Entry & Opened {
    return this.createBy(Op.CREATE, parent, name, [flags, mode, umask, openFlags])
  }

  /** Sends the name that Linux sends. */
  tmpfile(parent: Id, flags: number, mode = 0o644, umask = 0): Entry & Opened {
    return this.createBy(Op.TMPFILE, parent, '/', [flags, mode, umask, 0])
  }

  /**
   * Reads as a guest that fills its page cache; with `ownFlags`, those of the open file, as a program of the guest.
   */
  read(
    nodeid: Id,
    handle: Id,
    offset: Id,
    sizeBytes: number,
    roomBytes = sizeBytes,
    ownFlags?: number,
  ): Uint8Array {
    const readFlags = ownFlags === undefined ? 0 : READ_LOCKOWNER
    const args = concat(u64(handle, offset), u32(sizeBytes, readFlags), u64(0), u32(ownFlags ?? 0, 0))
    const r = this.succeed({ opcode: Op.READ, nodeid, args, reply: { argBytes: 0, dataBytes: roomBytes } })
    return r.take(r.leftBytes)
  }

  /** A READ to `start`, whose reply may be long in coming. */
  readRequest(nodeid: Id, handle: Id, offset: Id, sizeBytes: number, roomBytes = sizeBytes): GuestRequest {
    const args = concat(u64(handle, offset), u32(sizeBytes, 0), u64(0), u32(0, 0))
    return { opcode: Op.READ, nodeid, args, reply: { argBytes: 0, dataBytes: roomBytes } }
  }

  /** `flags` are those of the guest's open file. */
  write(nodeid: Id, handle: Id, offset: Id, data: Uint8Array, flags = 0, writeFlags = 0): number {
    const args = concat(u64(handle, offset), u32(data.length, writeFlags), u64(0), u32(flags, 0))
    const r = this.succeed({ opcode: Op.WRITE, nodeid, args, data, reply: { argBytes: 8 } })
    return written(r.u32(), r.u32())
  }

  statfs(nodeid: Id = ROOT_ID): Statfs {
    return readStatfs(this.succeed({ opcode: Op.STATFS, nodeid, reply: { argBytes: 80 } }))
  }

  release(nodeid: Id, handle: Id): void {
    this.succeed({ opcode: Op.RELEASE, nodeid, args: releaseArgs(handle), reply: EMPTY })
  }

  releasedir(nodeid: Id, handle: Id): void {
    this.succeed({ opcode: Op.RELEASEDIR, nodeid, args: releaseArgs(handle), reply: EMPTY })
  }

  fsync(nodeid: Id, handle: Id, flags = 0): void {
    const args = concat(u64(handle), u32(flags, 0))
    this.succeed({ opcode: Op.FSYNC, nodeid, args, reply: EMPTY })
  }

  fsyncdir(nodeid: Id, handle: Id, flags = 0): void {
    const args = concat(u64(handle), u32(flags, 0))
    this.succeed({ opcode: Op.FSYNCDIR, nodeid, args, reply: EMPTY })
  }

  flush(nodeid: Id, handle: Id): void {
    this.succeed({ opcode: Op.FLUSH, nodeid, args: u64(handle, 0, 0), reply: EMPTY })
  }

  opendir(nodeid: Id, flags = 0): Opened {
    return readOpened(this.succeed({ opcode: Op.OPENDIR, nodeid, args: u32(flags, 0), reply: OPEN_REPLY }))
  }

  readdir(nodeid: Id, handle: Id, offset: Id, roomBytes = 4096): Dirent[] {
    return this.list(Op.READDIR, nodeid, handle, offset, roomBytes)
  }

  readdirplus(nodeid: Id, handle: Id, offset: Id, roomBytes = 4096): Dirent[] {
    return this.list(Op.READDIRPLUS, nodeid, handle, offset, roomBytes)
  }

  access(nodeid: Id, mask: number): void {
    this.succeed({ opcode: Op.ACCESS, nodeid, args: u32(mask, 0), reply: EMPTY })
  }

  fallocate(nodeid: Id, handle: Id, offset: Id, lenBytes: Id, mode = 0): void {
    const args = concat(u64(handle, offset, lenBytes), u32(mode, 0))
    this.succeed({ opcode: Op.FALLOCATE, nodeid, args, reply: EMPTY })
  }

  lseek(nodeid: Id, handle: Id, offset: Id, whence: number): bigint {
    const args = concat(u64(handle, offset), u32(whence, 0))
    return this.succeed({ opcode: Op.LSEEK, nodeid, args, reply: { argBytes: 8 } }).u64()
  }

  /** `from` and `to` are [node id, handle, offset]. */
  copyFileRange(from: readonly [Id, Id, Id], to: readonly [Id, Id, Id], lenBytes: Id, flags: Id = 0): number {
    const args = u64(from[1], from[2], to[0], to[1], to[2], lenBytes, flags)
    const reply = { argBytes: 8 }
    const r = this.succeed({ opcode: Op.COPY_FILE_RANGE, nodeid: from[0], args, reply })
    return written(r.u32(), r.u32())
  }

  syncfs(nodeid: Id = ROOT_ID): void {
    this.succeed({ opcode: Op.SYNCFS, nodeid, args: u64(0), reply: EMPTY })
  }

  private createBy(opcode: number, parent: Id, name: Name, words: number[]): Entry & Opened {
    const args = concat(u32(...words), cstring(name))
    const reply = { argBytes: ENTRY_BYTES + OPEN_REPLY.argBytes }
    const r = this.succeed({ opcode, nodeid: parent, args, reply })
    const entry = this.count(readEntry(r))
    return { ...entry, ...readOpened(r) }
  }

  private entry(opcode: number, nodeid: Id, args: Uint8Array): Entry {
    return this.count(readEntry(this.succeed({ opcode, nodeid, args, reply: ENTRY_REPLY })))
  }

  private list(opcode: number, nodeid: Id, handle: Id, offset: Id, roomBytes: number): Dirent[] {
    const args = concat(u64(handle, offset), u32(roomBytes, 0), u64(0), u32(0, 0))
    const reply = { argBytes: 0, dataBytes: roomBytes }
    const r = this.succeed({ opcode, nodeid, args, reply })
    const dirents = readDirents(r.take(r.leftBytes), opcode === Op.READDIRPLUS)
    for (const { entry } of dirents) if (entry !== undefined && entry.nodeid !== 0n) this.count(entry)
    return dirents
  }

  private count<T extends Entry>(entry: T): T {
    this.lookups.set(entry.nodeid, (this.lookups.get(entry.nodeid) ?? 0n) + 1n)
    return entry
  }

  private uncount(nodeid: Id, count: Id): void {
    const left = (this.lookups.get(BigInt(nodeid)) ?? 0n) - BigInt(count)
    if (left > 0n) this.lookups.set(BigInt(nodeid), left)
    else this.lookups.delete(BigInt(nodeid))
  }
}

function written(sizeBytes: number, padding: number): number {
  assert.equal(padding, 0, 'write_out.padding')
  return sizeBytes
}

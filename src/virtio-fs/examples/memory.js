/**
 * A file system in memory, with what Linux programs expect of one: links, owners, holes, extended attributes.
 * `virtiofsd-ts --file-system './memory.js?mebibytes=512'` limits what guests can fill.
 */
const PAGE = 65536
/** What a name, with its inode, or an extended attribute is counted as, besides its data. */
const NAME_BYTES = 1024
const BLOCK = 512
const MIB = 2 ** 20

const now = () => BigInt(Date.now()) * 1_000_000n
const fail = (code) => {
  throw Object.assign(new Error(code), { code })
}

/** The memory of a file system. */
class Room {
  constructor(bytes) {
    this.bytes = this.free = bytes
  }
  take(bytes) {
    if (bytes > this.free) fail('ENOSPC')
    this.free -= bytes
  }
}

/** Its fields are its attributes. */
class Inode {
  xattrs = new Map()
  constructor(room, mode, { uid, gid }) {
    Object.assign(this, { room, mode, uid, gid, nlink: 1, size: 0 })
    this.mtimeNs = this.atimeNs = this.ctimeNs = this.birthtimeNs = now()
  }
  stat() {
    return this
  }
  setattr({ size, mode, ...changes }) {
    if (size !== undefined) this.truncate(size)
    if (mode !== undefined) this.mode = (this.mode & 0o170000) | mode
    Object.assign(this, changes)
    this.ctimeNs = now()
  }
  getxattr(name) {
    return this.xattrs.get(name)
  }
  listxattr() {
    return this.xattrs.keys()
  }
  setxattr(name, value, { create, replace }) {
    // An ACL that nobody obeys would be a lie.
    if (name.startsWith('system.')) fail('EOPNOTSUPP')
    const old = this.xattrs.get(name)
    if (create && old) fail('EEXIST')
    if (replace && !old) fail('ENODATA')
    this.room.take(old ? value.length - old.length : NAME_BYTES + value.length)
    this.xattrs.set(name, value)
    this.ctimeNs = now()
  }
  removexattr(name) {
    const old = this.xattrs.get(name) ?? fail('ENODATA')
    this.room.take(-NAME_BYTES - old.length)
    this.xattrs.delete(name)
    this.ctimeNs = now()
  }
  /** The guest does not know it any more. Without a name, its memory is free again. */
  forget() {
    if (this.nlink > 0) return
    for (const name of [...this.xattrs.keys()]) this.removexattr(name)
    this.truncate?.(0)
  }
}

/** File contents in pages. A sparse file has few pages. */
class File extends Inode {
  pages = new Map()
  get blocks() {
    return (this.pages.size * PAGE) / BLOCK
  }
  truncate(size) {
    const kept = Math.ceil(size / PAGE)
    for (const n of size < this.size ? [...this.pages.keys()] : [])
      if (n >= kept && this.pages.delete(n)) this.room.take(-PAGE)
    if (size % PAGE > 0) this.pages.get(kept - 1)?.fill(0, size % PAGE)
    this.size = size
    this.mtimeNs = now()
  }
  read(position, length) {
    const out = new Uint8Array(Math.max(0, Math.min(length, this.size - position)))
    for (const [n, from, to, at] of parts(position, out.length)) {
      const page = this.pages.get(n)
      if (page) out.set(page.subarray(from, to), at)
    }
    return out
  }
  write(position, data) {
    const touched = [...parts(position, data.length)]
    const added = touched.filter(([n]) => !this.pages.has(n))
    this.room.take(added.length * PAGE)
    for (const [n] of added) this.pages.set(n, new Uint8Array(PAGE))
    for (const [n, from, to, at] of touched) this.pages.get(n).set(data.subarray(at, at + to - from), from)
    this.size = Math.max(this.size, position + data.length)
    this.mtimeNs = this.ctimeNs = now()
  }
  seek(position, what) {
    let n = Math.floor(position / PAGE)
    if (what === 'hole') while (this.pages.has(n)) n++
    else if (!this.pages.has(n))
      n = [...this.pages.keys()].reduce((a, b) => (b > n && b < a ? b : a), 2 ** 37)
    if (position >= this.size || (what === 'data' && n * PAGE >= this.size)) fail('ENXIO')
    return Math.min(Math.max(position, n * PAGE), this.size)
  }
}

/** The pages of a range: page number, first byte, byte after the last, and offset in the range. */
function* parts(position, length) {
  for (let at = 0; at < length; ) {
    const from = (position + at) % PAGE
    const to = Math.min(PAGE, from + length - at)
    yield [Math.floor((position + at) / PAGE), from, to, at]
    at += to - from
  }
}

class Link extends Inode {
  constructor(room, target, owner) {
    super(room, 0o120777, owner)
    this.size = Buffer.byteLength(target)
    this.readlink = () => target
  }
}

class Directory extends Inode {
  names = new Map()
  nlink = 2
  lookup(name) {
    return this.names.get(name)
  }
  readdir() {
    return [...this.names].map(([name, node]) => ({ name, node }))
  }
  add(name, node) {
    if (this.names.has(name)) fail('EEXIST')
    this.room.take(NAME_BYTES)
    this.names.set(name, node)
    if (node instanceof Directory) this.nlink++
    this.mtimeNs = this.ctimeNs = now()
    return node
  }
  take(name) {
    const node = this.names.get(name) ?? fail('ENOENT')
    this.names.delete(name)
    this.room.take(-NAME_BYTES)
    if (node instanceof Directory) this.nlink--
    this.mtimeNs = this.ctimeNs = now()
    return node
  }
  /** A directory with the set-group-id bit gives its group to new entries. */
  owner({ uid, gid }) {
    return { uid, gid: this.mode & 0o2000 ? this.gid : gid }
  }
  create(name, { mode }, caller) {
    return this.add(name, new File(this.room, 0o100000 | mode, this.owner(caller)))
  }
  mkdir(name, { mode }, caller) {
    return this.add(
      name,
      new Directory(this.room, 0o040000 | mode | (this.mode & 0o2000), this.owner(caller)),
    )
  }
  mknod(name, { mode, rdev }, caller) {
    return this.add(name, Object.assign(new Inode(this.room, mode, this.owner(caller)), { rdev }))
  }
  symlink(name, target, caller) {
    return this.add(name, new Link(this.room, target, this.owner(caller)))
  }
  link(name, node) {
    if (node.nlink === 0) fail('ENOENT')
    this.add(name, node)
    node.nlink++
    node.ctimeNs = now()
  }
  unlink(name) {
    if (this.names.get(name) instanceof Directory) fail('EISDIR')
    const node = this.take(name)
    node.nlink--
    node.ctimeNs = now()
  }
  rmdir(name) {
    const node = this.names.get(name) ?? fail('ENOENT')
    if (!(node instanceof Directory)) fail('ENOTDIR')
    if (node.names.size > 0) fail('ENOTEMPTY')
    this.take(name).nlink = 0
  }
  rename(name, to, newName, { noReplace, exchange }) {
    const [node, other] = [this.names.get(name) ?? fail('ENOENT'), to.names.get(newName)]
    if (node === other) return
    if (noReplace && other) fail('EEXIST')
    if (exchange && !other) fail('ENOENT')
    if (!exchange && other && other instanceof Directory !== node instanceof Directory)
      fail(node instanceof Directory ? 'ENOTDIR' : 'EISDIR')
    if (!exchange && other instanceof Directory && other.names.size > 0) fail('ENOTEMPTY')
    this.take(name)
    if (other) {
      to.take(newName)
      if (exchange) this.add(name, other)
      else other.nlink -= other instanceof Directory ? 2 : 1
      other.ctimeNs = now()
    }
    to.add(newName, node)
    node.ctimeNs = now()
  }
}

export default ({ mebibytes = 1024 } = {}) => {
  const room = new Room(Number(mebibytes) * MIB)
  const blocks = (bytes) => Math.floor(bytes / 4096)
  return {
    root: new Directory(room, 0o040755, { uid: 0, gid: 0 }),
    statfs: () => ({ blocks: blocks(room.bytes), freeBlocks: blocks(room.free) }),
  }
}

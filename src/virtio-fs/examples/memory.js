/** A writable file system in memory: `virtiofsd-ts --file-system ./memory.js`, or `node memory.js SOCKET`. */
const PAGE = 65536
const now = () => BigInt(Date.now()) * 1_000_000n
const fail = (code) => {
  throw Object.assign(new Error(code), { code })
}

class Inode {
  constructor(mode, { uid, gid }) {
    Object.assign(this, { mode, uid, gid, nlink: 1, size: 0, xattrs: new Map() })
    this.mtimeNs = this.atimeNs = this.ctimeNs = this.birthtimeNs = now()
  }
  stat() {
    return this
  }
  setattr({ size, ...changes }) {
    if (size !== undefined) this.truncate(size)
    Object.assign(
      this,
      changes.mode === undefined ? changes : { ...changes, mode: (this.mode & 0o170000) | changes.mode },
    )
    this.ctimeNs = now()
  }
  getxattr(name) {
    return this.xattrs.get(name)
  }
  listxattr() {
    return this.xattrs.keys()
  }
  setxattr(name, value, { create, replace }) {
    if (create && this.xattrs.has(name)) fail('EEXIST')
    if (replace && !this.xattrs.has(name)) fail('ENODATA')
    this.xattrs.set(name, value)
  }
  removexattr(name) {
    if (!this.xattrs.delete(name)) fail('ENODATA')
  }
}

/** File contents in pages. A sparse file has few pages. */
class File extends Inode {
  pages = new Map()
  truncate(size) {
    const last = Math.floor(size / PAGE)
    for (const n of this.pages.keys()) if (n > last) this.pages.delete(n)
    this.pages.get(last)?.fill(0, size % PAGE)
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
    for (const [n, from, to, at] of parts(position, data.length)) {
      if (!this.pages.has(n)) this.pages.set(n, new Uint8Array(PAGE))
      this.pages.get(n).set(data.subarray(at, at + to - from), from)
    }
    this.size = Math.max(this.size, position + data.length)
    this.mtimeNs = this.ctimeNs = now()
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
  constructor(target, owner) {
    super(0o120777, owner)
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
    this.names.set(name, node)
    if (node instanceof Directory) this.nlink++
    this.mtimeNs = this.ctimeNs = now()
    return node
  }
  take(name) {
    const node = this.names.get(name) ?? fail('ENOENT')
    this.names.delete(name)
    if (node instanceof Directory) this.nlink--
    this.mtimeNs = this.ctimeNs = now()
    return node
  }
  /** A directory with the set-group-id bit gives its group to new entries. */
  owner({ uid, gid }) {
    return { uid, gid: this.mode & 0o2000 ? this.gid : gid }
  }
  create(name, { mode }, caller) {
    return this.add(name, new File(0o100000 | mode, this.owner(caller)))
  }
  mkdir(name, { mode }, caller) {
    return this.add(name, new Directory(0o040000 | mode | (this.mode & 0o2000), this.owner(caller)))
  }
  mknod(name, { mode, rdev }, caller) {
    return this.add(name, Object.assign(new Inode(mode, this.owner(caller)), { rdev }))
  }
  symlink(name, target, caller) {
    return this.add(name, new Link(target, this.owner(caller)))
  }
  link(name, node) {
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
    }
    to.add(newName, node)
    node.ctimeNs = now()
  }
}

export default () => ({
  root: new Directory(0o040755, { uid: 0, gid: 0 }),
  statfs: () => ({ blocks: 2 ** 20, freeBlocks: 2 ** 19, files: 2 ** 20, freeFiles: 2 ** 19 }),
})

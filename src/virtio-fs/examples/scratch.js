/** Folders and files in memory, to read and write: `virtiofsd-ts --file-system ./scratch.js`. memory.js does links, too. */
const now = () => BigInt(Date.now()) * 1_000_000n
const error = (code) => Object.assign(new Error(code), { code })

/** A node's fields are its attributes. */
class Node {
  constructor(mode, { uid, gid }) {
    Object.assign(this, { mode, uid, gid, mtimeNs: now() })
  }
  stat = () => this
  setattr = (changes) => Object.assign(this, changes)
}

class File extends Node {
  bytes = new Uint8Array()
  get size() {
    return this.bytes.length
  }
  set size(size) {
    if (size > 2 ** 30) throw error('EFBIG')
    const { bytes } = this
    this.bytes = new Uint8Array(size)
    this.bytes.set(bytes.subarray(0, size))
  }
  read = (position, length) => this.bytes.subarray(position, position + length)
  write(position, data) {
    if (position + data.length > this.size) this.size = position + data.length
    this.bytes.set(data, position)
    this.mtimeNs = now()
  }
}

class Folder extends Node {
  nodes = new Map()
  lookup = (name) => this.nodes.get(name)
  readdir = () => this.nodes.keys()
  create = (name, { mode }, caller) => this.add(name, new File(mode, caller))
  mkdir = (name, { mode }, caller) => this.add(name, new Folder(mode, caller))
  add(name, node) {
    this.nodes.set(name, node)
    this.mtimeNs = now()
    return node
  }
  unlink(name) {
    this.nodes.delete(name)
    this.mtimeNs = now()
  }
  rmdir(name) {
    if (this.nodes.get(name).nodes.size > 0) throw error('ENOTEMPTY')
    this.unlink(name)
  }
  rename(name, to, newName, { exchange }) {
    if (exchange) throw error('EINVAL')
    if (to.nodes.get(newName)?.nodes?.size > 0) throw error('ENOTEMPTY')
    const node = this.nodes.get(name)
    this.unlink(name)
    to.add(newName, node)
  }
}

export default () => ({ root: new Folder(0o755, { uid: 0, gid: 0 }) })

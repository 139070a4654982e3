import type { FsNode } from './node.js'

/** Numbers of keys begin here. Those of objects, which are counted, end below. */
const OF_KEYS = 2 ** 52
const FNV_PRIME = 0x0100_0193

/**
 * Inode numbers of nodes that choose none. A node keeps its number when the guest forgets it and looks it up again: git, tar
 * and find take a file with another number for another file.
 */
export class InodeNumbers {
  private readonly ofObjects = new WeakMap<FsNode, number>()
  private count = 0

  /** Returns the number of a node: of its key, if it has one, else of the object. */
  of(node: FsNode): number {
    if (node.key !== undefined && node.key !== null) return numberOfKey(node.key)
    let number = this.ofObjects.get(node)
    if (number === undefined) {
      number = ++this.count
      this.ofObjects.set(node, number)
    }
    return number
  }
}

/** Returns 52 bits of the FNV-1a hashes of a key's text, forwards and backwards. 7 and 7n are two keys. */
function numberOfKey(key: string | number | bigint): number {
  const text = `${typeof key} ${key}`
  let low = 0x811c_9dc5
  let high = 0x811c_9dc5
  for (let n = 0; n < text.length; n++) {
    low = Math.imul(low ^ text.charCodeAt(n), FNV_PRIME)
    high = Math.imul(high ^ text.charCodeAt(text.length - 1 - n), FNV_PRIME)
  }
  return OF_KEYS + (high & 0xf_ffff) * 0x1_0000_0000 + (low >>> 0)
}

import type { FsNode } from './node.js'

/** A file that never changes. */
export function file(content: string | Uint8Array, mode = 0o644): FsNode {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  return {
    stat: () => ({ type: 'file', mode, size: bytes.length }),
    read: (position, length) => bytes.subarray(position, position + length),
  }
}

/** A directory that never changes: its entries by name. */
export function directory(entries: Readonly<Record<string, FsNode>>, mode = 0o755): FsNode {
  const nodes = new Map(Object.entries(entries))
  return {
    stat: () => ({ type: 'directory', mode }),
    lookup: (name) => nodes.get(name),
    readdir: () => [...nodes].map(([name, node]) => ({ name, node })),
  }
}

/** A symbolic link that never changes. */
export function symlink(target: string): FsNode {
  return { stat: () => ({ type: 'symlink', size: Buffer.byteLength(target) }), readlink: () => target }
}

/**
 * For measurements: serves a host directory, as read into memory at start, on the typed floor, by values or promises.
 */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FileTree, FsNode } from 'virtio-fs-ts'

const EMPTY = new Uint8Array(1 << 20)

/** Contents read as zeros, because their values cost a device nothing. */
function fileOf(path: string): FsNode {
  const { mode, size, mtimeMs } = statSync(path)
  return {
    stat: () => ({ mode, size, mtimeMs }),
    read: (position, length) => EMPTY.subarray(0, Math.max(0, Math.min(length, size - position))),
    write: () => {},
  }
}

function directoryOf(path: string): FsNode {
  const { mode, mtimeMs } = statSync(path)
  const names = readdirSync(path, { withFileTypes: true })
  const nodes = new Map(
    names.map((entry) => [
      entry.name,
      entry.isDirectory() ? directoryOf(join(path, entry.name)) : fileOf(join(path, entry.name)),
    ]),
  )
  return {
    stat: () => ({ mode, mtimeMs }),
    lookup: (name) => nodes.get(name),
    readdir: () => [...nodes].map(([name, node]) => ({ name, node })),
  }
}

/** The same node, with every method an async function. A lookup in a large directory takes `lookupMs`. */
function promised(node: FsNode, lookupMs: number, known = new Map<FsNode, FsNode>()): FsNode {
  const before = known.get(node)
  if (before !== undefined) return before
  const { stat, lookup, readdir, read, write } = node
  const made: FsNode = {
    ...(stat && { stat: async (context) => stat(context) }),
    ...(read && { read: async (...args) => read(...args) }),
    ...(write && { write: async (...args) => write(...args) }),
    ...(lookup && {
      lookup: async (...args) => {
        const child = await lookup(...args)
        if (lookupMs > 0 && args[0].startsWith('entry-')) await sleep(lookupMs)
        return child ? promised(child, lookupMs, known) : undefined
      },
    }),
    ...(readdir && { readdir }),
  }
  known.set(node, made)
  return made
}

export default (
  { promises, lookupMs = '0' }: { promises?: string; lookupMs?: string },
  { sharedDir = '.' }: { sharedDir?: string },
): FileTree => {
  const root = directoryOf(sharedDir)
  return { root: promises === undefined ? root : promised(root, Number(lookupMs)) }
}

import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { ROOT_ID } from '../fuse/fuse-abi.js'
import type { FuseGuest } from '../fuse/fuse-guest.js'
import { Device } from './device.js'

export const DIRECTORIES = 4
/** Files in each directory. */
export const FILES = 300
/** Far fewer than inodes, so that most are known only by their file handles. */
export const FEW_DESCRIPTORS = ['--rlimit-nofile', '512', '--cache', 'auto', '--keep-alive']

/** Two devices that share one directory, with files in it. */
export async function devicesWithFiles(
  t: Test,
  args: readonly string[] = [],
  sandbox: 'none' | 'namespace' = 'none',
) {
  const from = await Device.start(t, [...FEW_DESCRIPTORS, ...args], { storage: 'disk', sandbox })
  makeFiles(from.directory)
  const to = await Device.start(t, [...FEW_DESCRIPTORS, ...args], { directory: from.directory, sandbox })
  return { from, to }
}

export interface Known {
  readonly nodeid: bigint
  /** The host's inode number. */
  readonly ino: bigint
}

export function makeFiles(directory: string): void {
  for (let d = 0; d < DIRECTORIES; d++) {
    mkdirSync(join(directory, `d${d}`))
    for (let n = 0; n < FILES; n++) writeFileSync(join(directory, `d${d}`, `f${n}`), `${d}-${n}`)
  }
}

/** Looks up everything in the directories that `makeFiles` made. */
export function lookAtAll(fs: FuseGuest, directory: string, root = ROOT_ID): Map<string, Known> {
  const known = new Map<string, Known>()
  for (const d of readdirSync(directory)) {
    const parent = fs.lookup(root, d)
    known.set(d, { nodeid: parent.nodeid, ino: parent.attr.ino })
    for (const name of readdirSync(join(directory, d))) {
      const { nodeid, attr } = fs.lookup(parent.nodeid, name)
      known.set(`${d}/${name}`, { nodeid, ino: attr.ino })
    }
  }
  return known
}

/** Checks that each inode is the file that it was. */
export function expectSame(t: Test, fs: FuseGuest, known: ReadonlyMap<string, Known>): void {
  const wrong = [...known].filter(([, { nodeid, ino }]) => fs.getattr(nodeid).attr.ino !== ino)
  t.same(wrong, [], 'every inode is the same file')
}

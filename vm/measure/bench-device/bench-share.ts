import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { cacheRoot } from '../../packages/cache.js'
import { CommandFailure } from './command-failure.js'

const MIB = 1024 * 1024
const DATA_BYTES = 256 * MIB
const ENTRIES = 10_000
const IN_MEMORY = '/dev/shm/virtiofsd-ts-bench'

/** A shared directory as the load generator expects it: a large file, a large directory, an empty one. */
export interface BenchShare {
  readonly path: string
  readonly dataBytes: number
  readonly entries: number
}

/** The places of shares between runs: tmpfs, where nothing waits for a disk, and the disk of the cache folder. */
export const SHARE_PATHS = { memory: IN_MEMORY, disk: join(cacheRoot(), 'bench-share') } as const
export type SharePlace = keyof typeof SHARE_PATHS

/** Makes the missing parts of a share. The caller decides when to remove it. */
export function makeBenchShare(path: string, dataBytes = DATA_BYTES, entries = ENTRIES): BenchShare {
  mkdirSync(join(path, 'scratch'), { recursive: true })
  makeData(join(path, 'data'), dataBytes)
  makeEntries(join(path, 'entries'), entries)
  return { path, dataBytes, entries }
}

/** Writes data without holes, so that a device really reads it. */
function makeData(path: string, lenBytes: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.size === lenBytes) return
  const block = Buffer.alloc(MIB, 'virtio-fs')
  const fd = openSync(path, 'w')
  for (let done = 0; done < lenBytes; done += MIB) writeSync(fd, block)
  closeSync(fd)
}

function makeEntries(dir: string, count: number): void {
  const nameOf = (n: number): string => join(dir, `entry-${String(n).padStart(8, '0')}`)
  if (existsSync(nameOf(count - 1)) && !existsSync(nameOf(count))) return
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir)
  const { ffree } = statfsSync(dir)
  // A file system that makes inodes on demand reports 0 free of 0.
  if (ffree > 0 && ffree < count)
    throw new CommandFailure(`${dir}: ${count} files wanted, ${ffree} possible (on tmpfs, see nr_inodes)`)
  for (let n = 0; n < count; n++) writeFileSync(nameOf(n), '')
}

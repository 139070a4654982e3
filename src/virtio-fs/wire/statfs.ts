/** STATFS and SYNCFS. Little endian for every guest (virtio 1). */

import { readSafeU64, writeU64 } from './numbers.js'

const BYTES = 80

/** Writes `most` in place of a greater number. */
function writeLeast(v: DataView, at: number, most: number): void {
  const value = readSafeU64(v, at)
  if (value < 0 || value > most) writeU64(v, at, most)
}

/** fuse_statfs_out (a fuse_kstatfs): five counts, block size, longest name, fragment size, padding. 80 bytes. */
export const StatfsOut = Object.freeze({
  BYTES,
  /** `counts`: blocks, free and available blocks, files, free files, as ten 32-bit halves from byte `countsAt` on. */
  write(
    v: DataView,
    at: number,
    counts: DataView,
    countsAt: number,
    blockBytes: number,
    nameMaxBytes: number,
    fragmentBytes: number,
  ) {
    for (let n = 0; n < 40; n += 4) v.setUint32(at + n, counts.getUint32(countsAt + n, true), true)
    v.setUint32(at + 40, blockBytes, true)
    v.setUint32(at + 44, nameMaxBytes, true)
    v.setUint32(at + 48, fragmentBytes, true)
    for (let n = 52; n < BYTES; n += 4) v.setUint32(at + n, 0, true)
  },
  /** Shows no more blocks and free blocks than a quota has. */
  limitBlocks(v: DataView, at: number, limitBytes: number, usedBytes: number) {
    const unit = StatfsOut.fragmentBytes(v, at) || StatfsOut.blockBytes(v, at) || 512
    const free = Math.floor(Math.max(0, limitBytes - usedBytes) / unit)
    writeLeast(v, at, Math.floor(limitBytes / unit))
    writeLeast(v, at + 8, free)
    writeLeast(v, at + 16, free)
  },
  /** The same for files. */
  limitFiles(v: DataView, at: number, limit: number, used: number) {
    writeLeast(v, at + 24, limit)
    writeLeast(v, at + 32, Math.max(0, limit - used))
  },
  blocks: (v: DataView, at: number) => readSafeU64(v, at),
  freeBlocks: (v: DataView, at: number) => readSafeU64(v, at + 8),
  availableBlocks: (v: DataView, at: number) => readSafeU64(v, at + 16),
  files: (v: DataView, at: number) => readSafeU64(v, at + 24),
  freeFiles: (v: DataView, at: number) => readSafeU64(v, at + 32),
  blockBytes: (v: DataView, at: number) => v.getUint32(at + 40, true),
  nameMaxBytes: (v: DataView, at: number) => v.getUint32(at + 44, true),
  fragmentBytes: (v: DataView, at: number) => v.getUint32(at + 48, true),
})

/** fuse_syncfs_in: 8 bytes of padding. */
export const SyncfsIn = Object.freeze({ BYTES: 8 })

/** Directory entry replies. Little endian for every guest (virtio 1). */

import { readSafeU64, writeTimeout, writeWords } from './numbers.js'

const BYTES = 128

/** fuse_entry_out: nodeid, generation, entry_valid, attr_valid, their nanoseconds, fuse_attr. 128 bytes. */
export const EntryOut = Object.freeze({
  BYTES,
  ATTR_AT: 40,
  /** Writes the fields before the fuse_attr. */
  writeHead(
    words: Int32Array,
    w: number,
    nodeid: number,
    generation: number,
    entryTimeoutSec: number,
    attrTimeoutSec: number,
  ) {
    writeWords(words, w, nodeid)
    writeWords(words, w + 2, generation)
    writeTimeout(words, w + 4, w + 8, entryTimeoutSec)
    writeTimeout(words, w + 6, w + 9, attrTimeoutSec)
  },
  /** Writes another time for which the name is valid. */
  writeEntryTimeout(words: Int32Array, w: number, entryTimeoutSec: number) {
    writeTimeout(words, w + 4, w + 8, entryTimeoutSec)
  },
  /** Writes node id 0: only the name is known, or the name does not exist and its absence may be cached this long. */
  writeNothing(words: Int32Array, w: number, entryTimeoutSec: number) {
    words.fill(0, w, w + (BYTES >> 2))
    writeTimeout(words, w + 4, w + 8, entryTimeoutSec)
  },
  nodeid: (v: DataView, at: number) => readSafeU64(v, at),
  generation: (v: DataView, at: number) => readSafeU64(v, at + 8),
  entryValidSec: (v: DataView, at: number) => readSafeU64(v, at + 16),
  attrValidSec: (v: DataView, at: number) => readSafeU64(v, at + 24),
  entryValidNsec: (v: DataView, at: number) => v.getUint32(at + 32, true),
  attrValidNsec: (v: DataView, at: number) => v.getUint32(at + 36, true),
})

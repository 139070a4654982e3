import { EntryOut, OutHeader } from 'virtio-fs-ts/protocol'

/** Index in a reply's words: open_out of OPEN and OPENDIR, entry_out of CREATE. */
export const BEHIND_HEADER = OutHeader.BYTES >> 2
/** Index in a reply's words: open_out of CREATE. */
export const BEHIND_ENTRY = (OutHeader.BYTES + EntryOut.BYTES) >> 2

/** open_out at an index of a reply's words. */
export const OpenReply = Object.freeze({
  handle: (words: Int32Array, at: number) => u64At(words, at),
  openFlags: (words: Int32Array, at: number) => words[at + 2]!,
})

/** Reads a u64, below 2^53, from two words. */
export function u64At(words: Int32Array, at: number): number {
  return (words[at + 1]! >>> 0) * 0x1_0000_0000 + (words[at]! >>> 0)
}

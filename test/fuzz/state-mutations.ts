import { type Block, BlockReader, encodeBlock } from '../../src/state/blocks.js'
import { stateStream } from '../../src/state/sections.js'
import type { ByteSource } from './byte-source.js'

const TAGS = ['META', 'DEVS', 'DEVH', 'INOD', 'IGEN', 'FILE', 'FGEN', 'DIRS', 'DGEN', 'LOCK', 'MORE', 'x', '']
const VERSIONS = [0, 1, 2, 0xffff]
const MOST_INSERTED = 300

/** The blocks of a state, without the end block. */
export function blocksOf(state: Uint8Array): Block[] {
  const blocks: Block[] = []
  const reader = new BlockReader(({ contents, ...rest }) =>
    blocks.push({ ...rest, contents: contents.slice() }),
  )
  reader.write(state)
  reader.end()
  return blocks
}

/** Changes one thing, and corrects the checksums and the number of blocks. */
export function changeBlocks(blocks: readonly Block[], bytes: ByteSource): readonly Block[] {
  if (blocks.length === 0) return blocks
  const n = bytes.below(blocks.length)
  const block = blocks[n]!
  const replaced = (change: Partial<Block>) => blocks.with(n, { ...block, ...change })
  switch (bytes.below(8)) {
    case 0:
      return blocks.toSpliced(n, 1)
    case 1:
      return blocks.toSpliced(bytes.below(blocks.length + 1), 0, block)
    case 2:
      return replaced({ version: bytes.pick(VERSIONS), isRequired: bytes.oneIn(2) })
    case 3:
      return replaced({ tag: bytes.pick(TAGS).padEnd(4) })
    default:
      return replaced({ contents: changeContents(block.contents, bytes) })
  }
}

function changeContents(contents: Uint8Array, bytes: ByteSource): Uint8Array {
  const at = bytes.below(contents.length + 1)
  const whole = Buffer.from(contents)
  switch (bytes.below(6)) {
    case 0:
      return whole.subarray(0, at)
    case 1:
      if (at < whole.length) whole[at] ^= 1 << bytes.below(8)
      return whole
    case 2:
      if (at + 2 <= whole.length) whole.writeUInt16LE(bytes.edge32() & 0xffff, at)
      return whole
    case 3: {
      const wordAt = at & ~3
      if (wordAt + 4 <= whole.length) whole.writeUInt32LE(bytes.edge32(), wordAt)
      return whole
    }
    case 4: {
      const added = Buffer.alloc(bytes.below(MOST_INSERTED), bytes.u8())
      return Buffer.concat([whole.subarray(0, at), added, whole.subarray(at)])
    }
    default: {
      // Repeats a row of records, or a part of one.
      const again = whole.subarray(Math.min(at, bytes.below(contents.length + 1)))
      return Buffer.concat([whole.subarray(0, at), again])
    }
  }
}

/** The stream of blocks, cut or changed in one byte if the bytes say so. */
export function streamOf(blocks: readonly Block[], bytes: ByteSource): Uint8Array {
  const encoded = blocks.map(encodeBlock)
  const stream = Buffer.concat([...stateStream([encoded])])
  const at = bytes.below(stream.length)
  if (bytes.oneIn(16)) return stream.subarray(0, at)
  if (bytes.oneIn(16)) stream[at] ^= 1 << bytes.below(8)
  return stream
}

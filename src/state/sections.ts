import { StateError } from 'vhost-user-ts'
import { isDeeperThan } from '../basics/levels.js'
import { type Block, BlockReader, damaged, END_TAG, encodeBlock, MAGIC, viewOf } from './blocks.js'

/** The most levels of a section that is JSON. */
const MAX_LEVELS = 32
/** Records collect until they fill a block. */
const BLOCK_FILL_BYTES = 60 * 1024
/** Room for the longest record behind that. */
const BUFFER_BYTES = 128 * 1024
/** A record begins with its length, this one included. */
const RECORD_LENGTH_BYTES = 2

/** A kind of section. */
export interface SectionKind {
  readonly tag: string
  /** The version that is written, and the latest that is read. */
  readonly version: number
  /** A reader that does not know it must refuse the state. */
  readonly isRequired: boolean
}

/** Records that a part of the share has written; undefined: none yet, so that other work can go on. */
export type Records = Iterable<Uint8Array | undefined>

/** Yields the stream of a state, piece by piece. */
export function* stateStream(sections: Iterable<Iterable<Uint8Array>>): Generator<Uint8Array> {
  yield MAGIC
  let blocks = 0
  for (const section of sections) {
    for (const block of section) {
      if (block.length > 0) blocks++
      yield block
    }
  }
  const count = new Uint8Array(4)
  new DataView(count.buffer).setUint32(0, blocks, true)
  yield encodeBlock({ tag: END_TAG, version: 1, isRequired: true, contents: count })
}

/** Yields the one block of a section that is JSON. */
export function* textSection(kind: SectionKind, value: unknown): Generator<Uint8Array> {
  yield encodeBlock({ ...kind, contents: new TextEncoder().encode(JSON.stringify(value)) })
}

/** Yields the blocks of a section of records, and empty pieces while there is nothing. */
export function* recordSection(kind: SectionKind, records: Records): Generator<Uint8Array> {
  const buffer = new Uint8Array(BUFFER_BYTES)
  let filled = 0
  for (const record of records) {
    if (record === undefined) {
      yield NOTHING
      continue
    }
    buffer.set(record, filled)
    filled += record.length
    if (filled < BLOCK_FILL_BYTES) continue
    yield encodeBlock({ ...kind, contents: buffer.subarray(0, filled) })
    filled = 0
  }
  if (filled > 0) yield encodeBlock({ ...kind, contents: buffer.subarray(0, filled) })
}

const NOTHING = new Uint8Array(0)

/** Takes the contents of a section. */
export interface SectionTaker {
  readonly kind: SectionKind
  /** Called for each block of the section, whose end is the next section. Throws StateError. */
  take(contents: Uint8Array): void
}

/** Hands blocks to the takers of their sections. Throws StateError for what no taker may skip. */
export function sectionReader(takers: readonly SectionTaker[]): BlockReader {
  const known = new Map(takers.map((taker) => [taker.kind.tag, taker]))
  return new BlockReader((block) => {
    const taker = known.get(block.tag)
    if (taker !== undefined) {
      mustRead(block, taker.kind)
      taker.take(block.contents)
    } else if (block.isRequired) {
      throw new StateError(`the state has a section ${block.tag} of a later version of virtiofsd-ts`)
    }
  })
}

function mustRead({ tag, version }: Block, kind: SectionKind): void {
  if (version <= kind.version) return
  throw new StateError(
    `section ${tag} has version ${version}, and this virtiofsd-ts reads up to ${kind.version}: it is older`,
  )
}

/** Calls `take` with each record of a block: the place of its first byte and its length. */
export function eachRecord(
  contents: Uint8Array,
  leastBytes: number,
  take: (view: DataView, at: number, lenBytes: number) => void,
): void {
  const view = viewOf(contents)
  for (let at = 0; at < contents.length; ) {
    const lenBytes = contents.length - at < RECORD_LENGTH_BYTES ? 0 : view.getUint16(at, true)
    if (lenBytes < leastBytes || at + lenBytes > contents.length) throw damaged('a record is cut')
    take(view, at, lenBytes)
    at += lenBytes
  }
}

/** Returns the value of a JSON section that must be an object. */
export function objectOf(contents: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(contents))
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (isObject && !isDeeperThan(MAX_LEVELS, value)) return value as Record<string, unknown>
  } catch {
    // Falls through: it is no JSON.
  }
  throw damaged('a section is no JSON object')
}

import { damaged } from './blocks.js'
import { eachRecord } from './sections.js'

/** Section PLAC: the last places of inodes whose file handles may die before their files. */
export const PLACES = { tag: 'PLAC', version: 1, isRequired: false } as const

/** Words that tell an inode from others. */
const IDENTITY_WORDS = 8
/** u16 length, u16 bytes of the name; u32 slot; the words; then the name. */
const HEAD_BYTES = 8 + 4 * IDENTITY_WORDS

/** The last place of an inode. */
export interface PlaceRecord {
  readonly slot: number
  /** The name below the shared directory, NUL-terminated. */
  readonly name: Uint8Array
  readonly identity: readonly number[]
}

export const PlaceRecords = Object.freeze({
  encode({ slot, name, identity }: PlaceRecord): Uint8Array {
    const bytes = new Uint8Array(HEAD_BYTES + name.length)
    const v = new DataView(bytes.buffer)
    v.setUint16(0, bytes.length, true)
    v.setUint16(2, name.length, true)
    v.setUint32(4, slot, true)
    identity.forEach((word, n) => {
      v.setInt32(8 + 4 * n, word, true)
    })
    bytes.set(name, HEAD_BYTES)
    return bytes
  },

  decode(contents: Uint8Array, take: (place: PlaceRecord) => void): void {
    eachRecord(contents, HEAD_BYTES, (v, at, lenBytes) => {
      const nameBytes = v.getUint16(at + 2, true)
      const nameAt = at + HEAD_BYTES
      const name = contents.slice(nameAt, nameAt + nameBytes)
      if (HEAD_BYTES + nameBytes > lenBytes || name.at(-1) !== 0) throw damaged('a place has no name')
      const identity = Array.from({ length: IDENTITY_WORDS }, (_, n) => v.getInt32(at + 8 + 4 * n, true))
      take({ slot: v.getUint32(at + 4, true), name, identity })
    })
  },
})

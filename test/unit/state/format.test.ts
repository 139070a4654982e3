/** The format in which the state of a share moves: what is read back, and what is refused. */
import t from 'tap'
import { StateError } from 'vhost-user-ts'
import { BLOCK_HEADER_BYTES, crc32, encodeBlock, MAGIC } from '../../../src/state/blocks.js'
import {
  type DirectoryRecord,
  DirectoryRecords,
  type FileRecord,
  FileRecords,
  type FreeSlot,
  FreeSlotRecords,
  type LockRecord,
  LockRecords,
} from '../../../src/state/handle-records.js'
import { InodeDecoder, InodeEncoder, type InodeRecord } from '../../../src/state/inode-records.js'
import { type PlaceRecord, PlaceRecords } from '../../../src/state/place-records.js'
import {
  objectOf,
  recordSection,
  type SectionKind,
  type SectionTaker,
  sectionReader,
  stateStream,
  textSection,
} from '../../../src/state/sections.js'
import { Random } from '../../support/random.js'

const META = { tag: 'META', version: 1, isRequired: true }
const SOME = { tag: 'SOME', version: 2, isRequired: true }

const whole = (pieces: Iterable<Uint8Array>) => Uint8Array.from(Buffer.concat([...pieces]))
const words = (count: number) =>
  Array.from({ length: count }, (_, n) => FreeSlotRecords.encode({ slot: n + 1, generation: n * 7 }))
const stream = (...sections: Iterable<Uint8Array>[]) => whole(stateStream(sections))

/** Reads a stream in pieces. Returns the contents of section SOME and of META. */
function read(bytes: Uint8Array, pieceBytes: number, kind: SectionKind = SOME) {
  const free: FreeSlot[] = []
  let meta: object | undefined
  const takers: SectionTaker[] = [
    {
      kind: META,
      take: (contents) => {
        meta = objectOf(contents)
      },
    },
    { kind, take: (contents) => FreeSlotRecords.decode(contents, (slot) => free.push(slot)) },
  ]
  const reader = sectionReader(takers)
  // The reader may not keep a piece.
  const piece = new Uint8Array(pieceBytes)
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const part = bytes.subarray(at, at + pieceBytes)
    piece.set(part)
    reader.write(piece.subarray(0, part.length))
    piece.fill(0xee)
  }
  reader.end()
  return { free, meta }
}

t.test('a stream is read back in pieces of any size', (t) => {
  // More than one block.
  const bytes = stream(textSection(META, { a: 1 }), recordSection(SOME, words(12_000)))
  for (const pieceBytes of [1, 7, 4096, 65_536, bytes.length]) {
    const { free, meta } = read(bytes, pieceBytes)
    t.strictSame(meta, { a: 1 })
    t.equal(free.length, 12_000)
    t.strictSame(free[11_999], { slot: 12_000, generation: 11_999 * 7 })
  }
  t.strictSame(read(stream(recordSection(SOME, [undefined])), 100).free, [], 'an empty section is none')
  t.end()
})

t.test('the bytes of a small state do not change', (t) => {
  const bytes = stream(textSection(META, {}), recordSection(SOME, words(1)))
  // The checksums are those of another program, Python's zlib.
  const golden = [
    '7666732d74730001',
    '4d455441010001000200000043bfa6a37b7d',
    '534f4d45020001000c000000708b75b20c0000000100000000000000',
    '454e4420010001000400000097174d8b02000000',
  ]
  t.equal(Buffer.from(bytes).toString('hex'), golden.join(''))
  t.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926, 'the check value of CRC-32')
  t.end()
})

t.test('sections of later versions are skipped, or refused if they must be known', (t) => {
  const known = recordSection(SOME, words(2))
  const later = textSection({ tag: 'XTRA', version: 1, isRequired: false }, {})
  t.equal(read(stream(later, known), 64).free.length, 2)
  const refusals: readonly (readonly [Uint8Array, RegExp])[] = [
    [
      stream(textSection({ tag: 'XTRA', version: 1, isRequired: true }, {})),
      /section XTRA of a later version of virtiofsd-ts/,
    ],
    [
      stream(recordSection({ ...SOME, version: 3 }, words(1))),
      /section SOME has version 3, and this virtiofsd-ts reads up to 2/,
    ],
    [Uint8Array.from([...MAGIC.subarray(0, 7), 2]), /later format/],
    [new TextEncoder().encode('something else'), /not one of virtiofsd-ts/],
  ]
  for (const [bytes, message] of refusals) t.throws(() => read(bytes, 64), { name: 'StateError', message })
  t.end()
})

t.test('a record that is longer than this version’s is read as far as it is known', (t) => {
  const longer = new Uint8Array(20)
  longer.set(FreeSlotRecords.encode({ slot: 5, generation: 6 }))
  longer[0] = 20
  t.strictSame(read(stream(recordSection(SOME, [longer, ...words(1)])), 64).free, [
    { slot: 5, generation: 6 },
    { slot: 1, generation: 0 },
  ])
  t.end()
})

t.test('the bytes of a place do not change, and one that is cut is refused', (t) => {
  const name = new TextEncoder().encode('a/b\0')
  const place: PlaceRecord = { slot: 5, name, identity: [-1, 2, 3, 4, 5, 6, 7, 8] }
  const bytes = PlaceRecords.encode(place)
  const words = ['ffffffff', ...[2, 3, 4, 5, 6, 7, 8].map((word) => `0${word}000000`)]
  t.equal(Buffer.from(bytes).toString('hex'), ['2c000400', '05000000', ...words, '612f6200'].join(''))
  const places: PlaceRecord[] = []
  PlaceRecords.decode(bytes, (one) => places.push(one))
  t.strictSame(places, [place])
  const short = bytes.slice(0, -1)
  short[0]--
  const longName = bytes.slice()
  longName[2]++
  for (const wrong of [
    bytes.slice(0, -1),
    short,
    longName,
    PlaceRecords.encode({ ...place, name: name.slice(0, 3) }),
  ])
    t.throws(() => PlaceRecords.decode(wrong, () => {}), { name: 'StateError' })
  t.end()
})

t.test('every cut and every changed byte of a small stream is noticed', (t) => {
  const bytes = stream(textSection(META, { a: 1 }), recordSection(SOME, words(3)))
  const isRefused = (changed: Uint8Array) => {
    try {
      const { free, meta } = read(changed, 50)
      return JSON.stringify({ free, meta })
    } catch (error) {
      if (!(error instanceof StateError)) throw error
      return true
    }
  }
  for (let cut = 0; cut < bytes.length; cut++)
    if (isRefused(bytes.subarray(0, cut)) !== true) t.fail(`cut at ${cut}`)
  const truth = isRefused(bytes)
  for (let at = 0; at < bytes.length; at++) {
    for (const change of [1, 0x80, 0xff]) {
      const changed = bytes.slice()
      changed[at] ^= change
      const result = isRefused(changed)
      // A tag, version or flag may change into another one that may be skipped or read.
      if (result !== true && result !== truth && !isInHeader(bytes, at)) t.fail(`byte ${at} ^ ${change}`)
    }
  }
  t.equal(isRefused(Uint8Array.from([...bytes, 1])), true, 'bytes behind the end')
  t.end()
})

/** Returns true for a byte of the first 8 of a block: tag, version, flags. */
function isInHeader(bytes: Uint8Array, at: number): boolean {
  const view = new DataView(bytes.buffer)
  for (let block = MAGIC.length; block < bytes.length; ) {
    if (at >= block && at < block + 8) return true
    block += BLOCK_HEADER_BYTES + view.getUint32(block + 8, true)
  }
  return false
}

t.test('blocks that no writer makes are refused', (t) => {
  const block = (tag: string, contents: Uint8Array) =>
    encodeBlock({ tag, version: 1, isRequired: true, contents })
  const huge = block('META', new Uint8Array(0))
  new DataView(huge.buffer).setUint32(8, 1 << 30, true)
  for (const [what, part] of [
    ['a block that is too long', huge],
    ['a tag that is none', block('me\0a', new Uint8Array(0))],
    ['no JSON', block('META', Uint8Array.of(0x7b))],
    ['JSON that is no object', block('META', new TextEncoder().encode('[]'))],
    ['a record without a length', block('SOME', Uint8Array.of(1))],
    ['a record of no bytes', block('SOME', new Uint8Array(12))],
    ['a record that ends too late', block('SOME', Uint8Array.of(200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0))],
    ['a wrong count', block('END ', Uint8Array.of(9, 0, 0, 0))],
    ['no count', block('END ', new Uint8Array(0))],
  ] as const)
    t.throws(() => read(whole([MAGIC, part]), 64), { name: 'StateError' }, what)
  t.end()
})

const INODE: InodeRecord = {
  type: 8,
  slot: 2,
  generation: 3,
  lookups: 2 ** 40,
  device: 1,
  inoLow: -5,
  inoHigh: 7,
  isOpen: true,
  isLost: false,
  rests: true,
  hasFd: false,
  isDisowned: false,
  path: undefined,
  handle: undefined,
}

t.test('inodes: paths share their beginnings, and are bytes', (t) => {
  const records: InodeRecord[] = [
    { ...INODE, path: new Uint8Array(0) },
    { ...INODE, path: Uint8Array.of(0x61, 0x2f, 0xff), handle: Uint8Array.of(1, 0, 0, 0, 9) },
    { ...INODE, isOpen: false, isLost: true },
    { ...INODE, path: Uint8Array.of(0x61, 0x2f, 0xfe, 0x0a) },
    { ...INODE, path: new Uint8Array(4096).fill(0x62), handle: new Uint8Array(132).fill(3) },
  ]
  const encoder = new InodeEncoder()
  const block = whole(records.map((record) => encoder.encode(record).slice()))
  const got: InodeRecord[] = []
  new InodeDecoder().decode(block, (record) =>
    got.push({ ...record, path: record.path?.slice(), handle: record.handle?.slice() }),
  )
  t.strictSame(got, records)
  t.end()
})

t.test('inodes with impossible numbers are refused', (t) => {
  const encode = (record: InodeRecord) => new InodeEncoder().encode(record).slice()
  const path = Uint8Array.of(0x61)
  const changed = (at: number, value: number) => {
    const bytes = encode({ ...INODE, path, handle: path })
    new DataView(bytes.buffer).setUint16(at, value, true)
    return bytes
  }
  for (const [what, bytes] of [
    ['no lookups', encode({ ...INODE, lookups: 0 })],
    ['half a lookup', encode({ ...INODE, lookups: 1.5 })],
    ['NaN', encode({ ...INODE, lookups: Number.NaN })],
    ['too many', encode({ ...INODE, lookups: 2 ** 53 })],
    ['slot 0', encode({ ...INODE, slot: 0 })],
    ['a NUL in the path', encode({ ...INODE, path: Uint8Array.of(0x61, 0, 0x62) })],
    ['more shared than there was', changed(32, 1)],
    ['a path that is too long', changed(34, 60_000)],
    ['a handle that is too long', changed(36, 133)],
  ] as const)
    t.throws(() => new InodeDecoder().decode(bytes, () => {}), { name: 'StateError' }, what)
  t.end()
})

const FILE: FileRecord = {
  slot: 1,
  generation: 2,
  inodeSlot: 3,
  inodeGeneration: 4,
  hostFlags: 0o2102,
  openFlags: 5,
  hasDirect: true,
  isWritable: false,
  isAppendOnly: true,
  writesPages: false,
  flock: 2,
}
const DIRECTORY: DirectoryRecord = {
  slot: 1,
  generation: 2,
  inodeSlot: 3,
  inodeGeneration: 4,
  atLow: 0xffff_fff0,
  atHigh: 0x8000_0001,
}
const LOCK: LockRecord = {
  fileSlot: 1,
  fileGeneration: 2,
  isWrite: true,
  ownerLow: 0xffff_ffff,
  ownerHigh: 4,
  pid: 5,
  startByte: 2 ** 40,
  lastByte: Number.MAX_SAFE_INTEGER,
}

t.test('handles and locks are read back, and impossible ones refused', (t) => {
  const files: FileRecord[] = []
  const directories: DirectoryRecord[] = []
  const locks: LockRecord[] = []
  FileRecords.decode(FileRecords.encode(FILE), (file) => files.push(file))
  DirectoryRecords.decode(DirectoryRecords.encode(DIRECTORY), (directory) => directories.push(directory))
  LockRecords.decode(LockRecords.encode(LOCK), (lock) => locks.push(lock))
  t.strictSame([files, directories, locks], [[FILE], [DIRECTORY], [LOCK]])
  for (const wrong of [{ startByte: -1 }, { startByte: 0.5 }, { lastByte: 1 }, { lastByte: Number.NaN }])
    t.throws(() => LockRecords.decode(LockRecords.encode({ ...LOCK, ...wrong }), () => {}), {
      name: 'StateError',
    })
  t.throws(() => FileRecords.decode(FileRecords.encode({ ...FILE, flock: 3 }), () => {}), {
    name: 'StateError',
  })
  t.end()
})

t.test('random bytes in every decoder end in nothing worse than a refusal', (t) => {
  const random = new Random(42)
  const decoders = [
    (bytes: Uint8Array) => new InodeDecoder().decode(bytes, () => {}),
    (bytes: Uint8Array) => FileRecords.decode(bytes, () => {}),
    (bytes: Uint8Array) => DirectoryRecords.decode(bytes, () => {}),
    (bytes: Uint8Array) => LockRecords.decode(bytes, () => {}),
    (bytes: Uint8Array) => FreeSlotRecords.decode(bytes, () => {}),
    (bytes: Uint8Array) => read(whole([MAGIC, bytes]), 64),
  ]
  const seeds = [
    new InodeEncoder().encode({ ...INODE, path: Uint8Array.of(1, 2), handle: Uint8Array.of(3) }).slice(),
    FileRecords.encode(FILE),
    DirectoryRecords.encode(DIRECTORY),
    LockRecords.encode(LOCK),
    stream(textSection(META, {}), recordSection(SOME, words(2))).slice(MAGIC.length),
  ]
  let refused = 0
  for (let n = 0; n < 100_000; n++) {
    const bytes = Uint8Array.from([...random.pick(seeds), ...random.pick(seeds)])
    for (let flips = 1 + random.below(6); flips > 0; flips--)
      bytes[random.below(bytes.length)] = random.below(256)
    try {
      random.pick(decoders)(bytes.slice(0, random.below(bytes.length + 1)))
    } catch (error) {
      if (!(error instanceof StateError)) throw error
      refused++
    }
  }
  t.ok(refused > 50_000, `${refused} of 100,000 refused`)
  t.end()
})

/** Structs of replies: writers and readers agree with golden bytes. */
import t from 'tap'
import * as wire from 'virtio-fs-ts/protocol'
import { checkStructs, checkWordWriter, checkWriter, type RequestStruct } from '../../support/fuse/codec.js'
import { bytesOf, viewOf } from '../../support/hex.js'

const ATTR = `
  07 06 05 04 03 02 01 00  # ino
  00 10 00 80 05 00 00 00  # size
  08 00 00 00 01 00 00 00  # blocks
  fe ff ff ff ff ff ff ff  # atime
  00 a2 a6 66 00 00 00 00  # mtime
  01 a2 a6 66 00 00 00 00  # ctime
  ff c9 9a 3b              # atimensec
  01 00 00 00              # mtimensec
  02 00 00 00              # ctimensec
  a4 81 00 00              # mode
  02 00 00 00              # nlink
  e8 03 00 00              # uid
  e9 03 00 80              # gid
  03 01 10 00              # rdev
  00 10 00 00              # blksize
  01 00 00 00              # flags`

/** The attributes above, as statx(2) gives them: mask, blksize, attributes, nlink, uid, gid, mode and so on. */
const STATX = `
  ff 1f 00 00  00 10 00 00  ff ff ff ff ff ff ff ff
  02 00 00 00  e8 03 00 00  e9 03 00 80  a4 81 ff ff
  07 06 05 04 03 02 01 00  00 10 00 80 05 00 00 00
  08 00 00 00 01 00 00 00  ff ff ff ff ff ff ff ff
  fe ff ff ff ff ff ff ff  ff c9 9a 3b 00 00 00 00
  03 a2 a6 66 00 00 00 00  04 00 00 00 00 00 00 00
  01 a2 a6 66 00 00 00 00  02 00 00 00 00 00 00 00
  00 a2 a6 66 00 00 00 00  01 00 00 00 00 00 00 00
  01 00 00 00  03 01 00 00  08 00 00 00  01 00 00 00
  1d 00 00 00 00 00 00 00  ${'00 '.repeat(104)}`

const st = () => new Int32Array(bytesOf(STATX).buffer)

const structs: Readonly<Record<string, RequestStruct>> = {
  fuse_attr: {
    codec: wire.Attr,
    lenBytes: 88,
    golden: ATTR,
    fields: {
      ino: [8, 0x1020304050607],
      sizeBytes: [16, 0x5_8000_1000],
      blocks: [24, 0x1_0000_0008],
      atimeSec: [32, -2],
      mtimeSec: [40, 0x66a6a200],
      ctimeSec: [48, 0x66a6a201],
      atimeNsec: [52, 999_999_999],
      mtimeNsec: [56, 1],
      ctimeNsec: [60, 2],
      mode: [64, 0o100644],
      nlink: [68, 2],
      uid: [72, 1000],
      gid: [76, 0x800003e9],
      rdev: [80, 0x100103],
      blksize: [84, 4096],
      flags: [88, 1],
    },
  },
  fuse_attr_out: {
    codec: wire.AttrOut,
    lenBytes: 104,
    golden: '80 51 01 00 00 00 00 00  00 65 cd 1d  00 00 00 00',
    fields: { validSec: [8, 86_400], validNsec: [12, 500_000_000] },
  },
  fuse_entry_out: {
    codec: wire.EntryOut,
    lenBytes: 128,
    golden: `
      07 06 05 04 03 02 01 00  # nodeid
      09 00 00 00 01 00 00 00  # generation
      80 51 01 00 00 00 00 00  # entry_valid
      02 00 00 00 00 00 00 00  # attr_valid
      00 65 cd 1d              # entry_valid_nsec
      80 b2 e6 0e              # attr_valid_nsec`,
    fields: {
      nodeid: [8, 0x1020304050607],
      generation: [16, 0x1_0000_0009],
      entryValidSec: [24, 86_400],
      attrValidSec: [32, 2],
      entryValidNsec: [36, 500_000_000],
      attrValidNsec: [40, 250_000_000],
    },
  },
  fuse_open_out: {
    codec: wire.OpenOut,
    lenBytes: 16,
    golden: '07 06 05 04 03 02 01 00  41 00 00 00  00 00 00 00',
    fields: { handle: [8, 0x1020304050607], openFlags: [12, 0x41] },
  },
  fuse_write_out: {
    codec: wire.WriteOut,
    lenBytes: 8,
    golden: '00 00 10 80  00 00 00 00',
    fields: { sizeBytes: [4, 0x80100000] },
  },
  fuse_lseek_out: {
    codec: wire.LseekOut,
    lenBytes: 8,
    golden: '00 10 00 80 05 00 00 00',
    fields: { offsetBytes: [8, 0x5_8000_1000] },
  },
  fuse_copy_file_range_out: {
    codec: wire.CopyFileRangeOut,
    lenBytes: 8,
    golden: '00 10 00 00 05 00 00 00',
    fields: { copiedBytes: [8, 0x5_0000_1000] },
  },
  fuse_getxattr_out: {
    codec: wire.GetxattrOut,
    lenBytes: 8,
    golden: '00 00 01 80  00 00 00 00',
    fields: { sizeBytes: [4, 0x80010000] },
  },
  fuse_lk_out: {
    codec: wire.LkOut,
    lenBytes: 24,
    golden: '00 10 00 00 05 00 00 00  ff 1f 00 00 05 00 00 00  01 00 00 00  ea 03 00 00',
    fields: {
      startBytes: [8, 0x5_0000_1000],
      lastByte: [16, 0x5_0000_1fff],
      type: [20, 1],
      pid: [24, 1002],
    },
  },
  fuse_ioctl_out: {
    codec: wire.IoctlOut,
    lenBytes: 16,
    golden: 'e7 ff ff ff  00 00 00 00  00 00 00 00  00 00 00 00',
    fields: { result: [4, -25] },
  },
  fuse_statfs_out: {
    codec: wire.StatfsOut,
    lenBytes: 80,
    golden: `
      00 00 00 00 01 00 00 00  02 00 00 00 01 00 00 00  03 00 00 00 01 00 00 00
      04 00 00 00 01 00 00 00  ff ff ff ff ff ff ff ff
      00 10 00 80  ff 00 00 00  00 02 00 00  ${'00 '.repeat(28)}`,
    fields: {
      blocks: [8, 0x1_0000_0000],
      freeBlocks: [16, 0x1_0000_0002],
      availableBlocks: [24, 0x1_0000_0003],
      files: [32, 0x1_0000_0004],
      freeFiles: [40, -1],
      blockBytes: [44, 0x80001000],
      nameMaxBytes: [48, 255],
      fragmentBytes: [52, 512],
    },
  },
  fuse_dirent: {
    codec: wire.Dirent,
    lenBytes: 24,
    golden:
      '07 06 05 04 03 02 01 00  01 00 00 80 02 00 00 ff  03 00 00 00  08 00 00 00  61 62 63 00 00 00 00 00',
    fields: {
      ino: [8, 0x1020304050607],
      offLow: [12, 0x8000_0001],
      offHigh: [16, 0xff00_0002],
      nameBytes: [20, 3],
      type: [24, 8],
    },
  },
  fuse_init_out: {
    codec: wire.InitOut,
    lenBytes: 64,
    golden: `
      07 00 00 00  2d 00 00 00  00 00 02 00  fb ff ff f3  ff ff  ff bf  00 00 10 00  01 00 00 00  00 01  00 00
      f7 05 00 00  ${'00 '.repeat(28)}`,
    fields: {
      major: [4, 7],
      minor: [8, 45],
      maxReadaheadBytes: [12, 131072],
      flags: [16, 0xf3fffffb],
      maxBackground: [18, 65535],
      congestionThreshold: [20, 49151],
      maxWriteBytes: [24, 1048576],
      timeGranNs: [28, 1],
      maxPages: [30, 256],
      flags2: [36, 0x5f7],
    },
  },
  fuse_statx_out: {
    codec: wire.StatxOut,
    lenBytes: 288,
    golden: '80 51 01 00 00 00 00 00  00 65 cd 1d',
    fields: { validSec: [8, 86_400], validNsec: [12, 500_000_000] },
  },
}

checkStructs(t, structs)

t.test('attributes are written from what statx gave', async (t) => {
  checkWordWriter(t, (words, w) => wire.Attr.write(words, w, st(), 1), ATTR)
  const { golden } = structs['fuse_attr_out']
  checkWordWriter(t, (words, w) => wire.AttrOut.writeHead(words, w, 86_400.5), golden)
  const [, uid, gid] = [st(), wire.Attr.UID_WORD, wire.Attr.GID_WORD]
  t.same([uid * 4, gid * 4], [68, 72])
})

t.test('an entry has a header, and a name that is not there is all zeros', async (t) => {
  const { golden } = structs['fuse_entry_out']
  checkWordWriter(
    t,
    (words, w) => wire.EntryOut.writeHead(words, w, 0x1020304050607, 0x1_0000_0009, 86_400.5, 2.25),
    golden,
  )
  checkWordWriter(
    t,
    (words, w) => wire.EntryOut.writeNothing(words, w, 1.5),
    `${'00 '.repeat(16)} 01 00 00 00 00 00 00 00 ${'00 '.repeat(8)} 00 65 cd 1d ${'00 '.repeat(92)}`,
  )
  const words = new Int32Array(bytesOf(golden).length >> 2)
  wire.EntryOut.writeHead(words, 0, 0x1020304050607, 0x1_0000_0009, 7, 2.25)
  wire.EntryOut.writeEntryTimeout(words, 0, 86_400.5)
  t.same(new Uint8Array(words.buffer), bytesOf(golden), 'another time for the name changes nothing else')
  t.same([wire.EntryOut.ATTR_AT, wire.AttrOut.ATTR_AT], [40, 16])
})

t.test('statx_out leaves out attributes of mounts', async (t) => {
  checkWordWriter(
    t,
    (words, w) => wire.StatxOut.write(words, w, 86_400.5, st()),
    `
      ${structs['fuse_statx_out'].golden} ${'00 '.repeat(20)}
      ff 0f 00 00 ${hexFrom(4, 144)} ${'00 '.repeat(112)}`,
  )
  t.same([wire.StatxOut.STATX_AT, wire.StatxOut.UID_WORD * 4, wire.StatxOut.GID_WORD * 4], [32, 52, 56])
})

t.test('statx words are read as the numbers they are', async (t) => {
  const { Statx } = wire
  const words = st()
  t.same(
    [Statx.mode(words), Statx.nlink(words), Statx.uid(words), Statx.gid(words), Statx.sizeBytes(words)],
    [0o100644, 2, 1000, 0x800003e9, 0x5_8000_1000],
  )
  t.same([Statx.inoLow(words), Statx.inoHigh(words), Statx.WORDS * 4], [0x04050607, 0x10203, 256])
})

t.test('a dirent has its name behind it, padded to 8 bytes', async (t) => {
  const { golden } = structs['fuse_dirent']
  const name = new TextEncoder().encode('abc')
  const out = new Uint8Array(40).fill(0xee)
  wire.Dirent.writeHead(new DataView(out.buffer), 0, 0x04050607, 0x10203, 0x80000001, 0xff000002, 8, 3)
  wire.Dirent.writeName(out, 0, name)
  t.same([...out], [...bytesOf(golden), ...new Uint8Array(8).fill(0xee)])
})

t.test('statfs is written whole from five counts', async (t) => {
  const { golden } = structs['fuse_statfs_out']
  const counts = new DataView(bytesOf(`ee ee ee ee ${golden}`).buffer)
  checkWriter(t, (v, at) => wire.StatfsOut.write(v, at, counts, 4, 0x80001000, 255, 512), golden)
})

t.test('statfs of a quota: the budget and what is left of it, never more than the host has', async (t) => {
  const reply = viewOf(bytesOf(structs['fuse_statfs_out'].golden))
  wire.StatfsOut.limitBlocks(reply, 0, 4096, 1024)
  t.equal(wire.StatfsOut.blocks(reply, 0), 8)
  t.equal(wire.StatfsOut.freeBlocks(reply, 0), 6)
  t.equal(wire.StatfsOut.availableBlocks(reply, 0), 6)
  wire.StatfsOut.limitBlocks(reply, 0, 8192, 16384)
  t.equal(wire.StatfsOut.blocks(reply, 0), 8, 'a smaller number stays')
  t.equal(wire.StatfsOut.freeBlocks(reply, 0), 0, 'nothing is left of an overdrawn quota')
  wire.StatfsOut.limitFiles(reply, 0, 10, 4)
  t.equal(wire.StatfsOut.files(reply, 0), 10)
  t.equal(wire.StatfsOut.freeFiles(reply, 0), 6)
})

function hexFrom(from: number, to: number): string {
  return [...bytesOf(STATX).subarray(from, to)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
}

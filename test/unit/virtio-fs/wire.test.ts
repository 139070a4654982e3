import t from 'tap'
import * as wire from 'virtio-fs-ts/protocol'
import { checkStructs, checkWriter, type RequestStruct } from '../../support/fuse/codec.js'
import { bytesOf, hexOf, viewOf } from '../../support/hex.js'

const requestStructs: Readonly<Record<string, RequestStruct>> = {
  fuse_in_header: {
    codec: wire.InHeader,
    lenBytes: 40,
    golden: `
      50 00 10 00              # len
      10 00 00 00              # opcode
      fe ff ff ff  02 00 00 80 # unique
      07 06 05 04 03 02 01 00  # nodeid
      e8 03 00 80              # uid
      e9 03 00 00              # gid
      ea 03 00 00              # pid
      02 00                    # total_extlen
      ff ff                    # padding`,
    fields: {
      lenBytes: [4, 0x100050],
      opcode: [8, 16],
      uniqueLow: [12, -2],
      uniqueHigh: [16, -0x7ffffffe],
      nodeid: [24, 0x1020304050607],
      uid: [28, 0x800003e8],
      gid: [32, 1001],
      pid: [36, 1002],
      totalExtlen: [38, 2],
    },
  },
  fuse_init_in: {
    codec: wire.InitIn,
    lenBytes: 16,
    golden: `
      07 00 00 00  # major
      2e 00 00 00  # minor
      00 00 02 00  # max_readahead
      fb ff ff f3  # flags
      f7 05 00 00  # flags2
      ${'00 '.repeat(44)}`,
    fields: {
      major: [4, 7],
      minor: [8, 46],
      maxReadaheadBytes: [12, 131072],
      flags: [16, 0xf3fffffb],
      flags2: [20, 0x5f7],
    },
  },
  fuse_forget_in: {
    codec: wire.ForgetIn,
    lenBytes: 8,
    golden: '07 06 05 04 03 02 01 00',
    fields: { nlookup: [8, 0x1020304050607] },
  },
  fuse_getattr_in: {
    codec: wire.GetattrIn,
    lenBytes: 16,
    golden: `
      01 00 00 00              # getattr_flags
      ff ff ff ff              # dummy
      07 06 05 04 03 02 01 00  # fh`,
    fields: { flags: [4, 1], handle: [16, 0x1020304050607] },
  },
  fuse_setattr_in: {
    codec: wire.SetattrIn,
    lenBytes: 88,
    golden: `
      6d 0b 00 00              # valid
      ff ff ff ff              # padding
      07 06 05 04 03 02 01 00  # fh
      01 00 00 00 01 00 00 00  # size
      ff ff ff ff ff ff ff ff  # lock_owner
      fe ff ff ff ff ff ff ff  # atime
      00 a2 a6 66 00 00 00 00  # mtime
      ff ff ff ff ff ff ff ff  # ctime
      ff c9 9a 3b              # atimensec
      01 00 00 00              # mtimensec
      ff ff ff ff              # ctimensec
      a4 81 00 00              # mode
      ff ff ff ff              # unused4
      e8 03 00 00              # uid
      e9 03 00 80              # gid
      ff ff ff ff              # unused5`,
    fields: {
      valid: [4, 0xb6d],
      handle: [16, 0x1020304050607],
      sizeBytes: [24, 0x1_0000_0001],
      atimeSec: [40, -2],
      mtimeSec: [48, 0x66a6a200],
      atimeNsec: [60, 999_999_999],
      mtimeNsec: [64, 1],
      mode: [72, 0o100644],
      uid: [80, 1000],
      gid: [84, 0x800003e9],
    },
  },
  fuse_mknod_in: {
    codec: wire.MknodIn,
    lenBytes: 16,
    golden: 'a4 21 00 00  03 01 00 80  12 00 00 00  ff ff ff ff',
    fields: { mode: [4, 0o020644], rdev: [8, 0x80000103], umask: [12, 0o22] },
  },
  fuse_mkdir_in: {
    codec: wire.MkdirIn,
    lenBytes: 8,
    golden: 'ed 41 00 00  12 00 00 00',
    fields: { mode: [4, 0o040755], umask: [8, 0o22] },
  },
  fuse_rename_in: {
    codec: wire.RenameIn,
    lenBytes: 8,
    golden: '07 06 05 04 03 02 01 00',
    fields: { newDirectory: [8, 0x1020304050607] },
  },
  fuse_rename2_in: {
    codec: wire.Rename2In,
    lenBytes: 16,
    golden: '07 06 05 04 03 02 01 00  04 00 00 80  ff ff ff ff',
    fields: { newDirectory: [8, 0x1020304050607], flags: [12, 0x80000004] },
  },
  fuse_link_in: {
    codec: wire.LinkIn,
    lenBytes: 8,
    golden: '07 06 05 04 03 02 01 00',
    fields: { oldNodeid: [8, 0x1020304050607] },
  },
  fuse_open_in: {
    codec: wire.OpenIn,
    lenBytes: 8,
    golden: '02 82 00 80  01 00 00 00',
    fields: { flags: [4, 0x80008202], openFlags: [8, 1] },
  },
  fuse_create_in: {
    codec: wire.CreateIn,
    lenBytes: 16,
    golden: '41 82 00 00  a4 81 00 00  12 00 00 00  01 00 00 00',
    fields: { flags: [4, 0x8241], mode: [8, 0o100644], umask: [12, 0o22], openFlags: [16, 1] },
  },
  fuse_read_in: {
    codec: wire.ReadIn,
    lenBytes: 40,
    golden: `
      07 06 05 04 03 02 01 00  # fh
      00 10 00 80 05 00 00 00  # offset
      00 00 10 80              # size
      02 00 00 80              # read_flags
      ff ff ff ff ff ff ff ff  # lock_owner
      00 c0 00 00              # flags
      ff ff ff ff              # padding`,
    fields: {
      handle: [8, 0x1020304050607],
      offsetBytes: [16, 0x5_8000_1000],
      cookieLow: [12, 0x80001000],
      cookieHigh: [16, 5],
      sizeBytes: [20, 0x80100000],
      readFlags: [24, 0x8000_0002],
      flags: [36, 0xc000],
    },
  },
  fuse_write_in: {
    codec: wire.WriteIn,
    lenBytes: 40,
    golden: `
      07 06 05 04 03 02 01 00  # fh
      00 10 00 80 05 00 00 00  # offset
      00 00 10 80              # size
      05 00 00 00              # write_flags
      ff ff ff ff ff ff ff ff  # lock_owner
      01 04 00 00              # flags
      ff ff ff ff              # padding`,
    fields: {
      handle: [8, 0x1020304050607],
      offsetBytes: [16, 0x5_8000_1000],
      sizeBytes: [20, 0x80100000],
      writeFlags: [24, 5],
      flags: [36, 0x401],
    },
  },
  fuse_release_in: {
    codec: wire.ReleaseIn,
    lenBytes: 24,
    golden: '07 06 05 04 03 02 01 00  02 80 00 00  03 00 00 00  ff ff ff ff ff ff ff ff',
    fields: { handle: [8, 0x1020304050607], flags: [12, 0x8002], releaseFlags: [16, 3] },
  },
  fuse_flush_in: {
    codec: wire.FlushIn,
    lenBytes: 24,
    golden: '07 06 05 04 03 02 01 00  ff ff ff ff ff ff ff ff  01 00 00 80 ff ff ff ff',
    fields: { handle: [8, 0x1020304050607], ownerLow: [20, 0x8000_0001], ownerHigh: [24, 0xffff_ffff] },
  },
  fuse_fsync_in: {
    codec: wire.FsyncIn,
    lenBytes: 16,
    golden: '07 06 05 04 03 02 01 00  01 00 00 00  ff ff ff ff',
    fields: { handle: [8, 0x1020304050607], fsyncFlags: [12, 1] },
  },
  fuse_fallocate_in: {
    codec: wire.FallocateIn,
    lenBytes: 32,
    golden: `
      07 06 05 04 03 02 01 00  # fh
      00 10 00 00 05 00 00 00  # offset
      00 20 00 00 06 00 00 00  # length
      03 00 00 00  ff ff ff ff # mode, padding`,
    fields: {
      handle: [8, 0x1020304050607],
      offsetBytes: [16, 0x5_0000_1000],
      lenBytes: [24, 0x6_0000_2000],
      mode: [28, 3],
    },
  },
  fuse_lseek_in: {
    codec: wire.LseekIn,
    lenBytes: 24,
    golden: '07 06 05 04 03 02 01 00  00 10 00 00 05 00 00 00  04 00 00 00  ff ff ff ff',
    fields: {
      handle: [8, 0x1020304050607],
      offsetBytes: [16, 0x5_0000_1000],
      signedOffsetBytes: [16, 0x5_0000_1000],
      whence: [20, 4],
    },
  },
  fuse_copy_file_range_in: {
    codec: wire.CopyFileRangeIn,
    lenBytes: 56,
    golden: `
      07 06 05 04 03 02 01 00  # fh_in
      00 10 00 00 05 00 00 00  # off_in
      02 00 00 00 01 00 00 00  # nodeid_out
      08 06 05 04 03 02 01 00  # fh_out
      00 20 00 00 06 00 00 00  # off_out
      00 00 00 80 00 00 00 00  # len
      01 00 00 00 02 00 00 00  # flags`,
    fields: {
      inHandle: [8, 0x1020304050607],
      inOffsetBytes: [16, 0x5_0000_1000],
      outNodeid: [24, 0x1_0000_0002],
      outHandle: [32, 0x1020304050608],
      outOffsetBytes: [40, 0x6_0000_2000],
      lenBytes: [48, 0x8000_0000],
      flagsLow: [52, 1],
      flagsHigh: [56, 2],
    },
  },
  fuse_access_in: {
    codec: wire.AccessIn,
    lenBytes: 8,
    golden: '06 00 00 00  ff ff ff ff',
    fields: { mask: [4, 6] },
  },
}

checkStructs(t, requestStructs)

t.test('the length of a copy can be shortened in its request', async (t) => {
  const { golden } = requestStructs['fuse_copy_file_range_in']
  const view = viewOf(bytesOf(golden))
  wire.CopyFileRangeIn.writeLenBytes(view, 0, 0x3_0000_1000)
  t.equal(
    hexOf(new Uint8Array(view.buffer)),
    hexOf(bytesOf(golden.replace('00 00 00 80 00 00 00 00', '00 10 00 00 03 00 00 00'))),
  )
})

t.test('fuse_batch_forget_in: a count, then pairs of node id and lookups', async (t) => {
  const { BatchForgetIn } = wire
  const view = viewOf(
    bytesOf(`
      02 00 00 00  ff ff ff ff
      02 00 00 00 01 00 00 00  07 06 05 04 03 02 01 00
      03 00 00 00 00 00 00 00  01 00 00 00 00 00 00 00`),
  )
  t.equal(BatchForgetIn.BYTES, 8)
  t.equal(BatchForgetIn.ONE_BYTES, 16)
  t.equal(BatchForgetIn.count(view, 0), 2)
  t.same(
    [BatchForgetIn.nodeid(view, 0, 0), BatchForgetIn.nlookup(view, 0, 0)],
    [0x1_0000_0002, 0x1020304050607],
  )
  t.same([BatchForgetIn.nodeid(view, 0, 1), BatchForgetIn.nlookup(view, 0, 1)], [3, 1])
  t.throws(() => BatchForgetIn.nlookup(view, 0, 2), RangeError, 'past the end')
})

t.test('extension headers: size, type, and a list of groups', async (t) => {
  const { ExtHeader } = wire
  const view = viewOf(bytesOf('18 00 00 00  20 00 00 00  02 00 00 00  e8 03 00 00  e9 03 00 80  00 00 00 00'))
  t.equal(ExtHeader.BYTES, 8)
  t.equal(ExtHeader.sizeBytes(view, 0), 24)
  t.equal(ExtHeader.type(view, 0), 32)
  t.equal(ExtHeader.groupCount(view, 0), 2)
  t.same([ExtHeader.group(view, 0, 0), ExtHeader.group(view, 0, 1)], [1000, 0x800003e9])
  t.throws(() => ExtHeader.group(view, 0, 3), RangeError, 'past the end')
})

t.test('fuse_init_out is written whole, 64 bytes', async (t) => {
  const reply: wire.InitReply = {
    major: 7,
    minor: 45,
    maxReadaheadBytes: 131072,
    flags: 0x5f7_f3ff_fffbn,
    maxBackground: 65535,
    congestionThreshold: 49151,
    maxWriteBytes: 1048576,
    timeGranNs: 1,
    maxPages: 256,
  }
  t.equal(wire.InitOut.BYTES, 64)
  checkWriter(
    t,
    (v, at) => wire.InitOut.write(v, at, reply),
    `
      07 00 00 00  # major
      2d 00 00 00  # minor
      00 00 02 00  # max_readahead
      fb ff ff f3  # flags
      ff ff        # max_background
      ff bf        # congestion_threshold
      00 00 10 00  # max_write
      01 00 00 00  # time_gran
      00 01        # max_pages
      00 00        # map_alignment
      f7 05 00 00  # flags2
      00 00 00 00  # max_stack_depth
      ${'00 '.repeat(24)}`,
  )
})

t.test('fuse_open_out, fuse_write_out and fuse_lseek_out are written whole', async (t) => {
  checkWriter(
    t,
    (v, at) => wire.OpenOut.write(v, at, 0x1020304050607, 0x41),
    '07 06 05 04 03 02 01 00  41 00 00 00  00 00 00 00',
  )
  checkWriter(t, (v, at) => wire.WriteOut.write(v, at, 0x80100000), '00 00 10 80  00 00 00 00')
  checkWriter(t, (v, at) => wire.LseekOut.write(v, at, 0x5_8000_1000), '00 10 00 80 05 00 00 00')
})

t.test('a dirent is padded to 8 bytes behind its name', async (t) => {
  t.same([0, 1, 8, 9, 255].map(wire.Dirent.paddedBytes), [24, 32, 32, 40, 280])
})

t.test('numbers beyond 2^53 read as -1 or NaN, and rounded only where that is asked for', async (t) => {
  const u64 = (golden: string) => wire.readSafeU64(viewOf(bytesOf(golden)), 0)
  t.equal(u64('ff ff ff ff ff ff 1f 00'), Number.MAX_SAFE_INTEGER)
  t.equal(u64('00 00 00 00 00 00 20 00'), -1)
  t.equal(u64('ff ff ff ff ff ff ff ff'), -1)
  const i64 = (golden: string) => wire.readSafeI64(viewOf(bytesOf(golden)), 0)
  t.equal(i64('ff ff ff ff ff ff ff ff'), -1)
  t.equal(i64('01 00 00 00 00 00 e0 ff'), Number.MIN_SAFE_INTEGER)
  t.ok(Number.isNaN(i64('00 00 00 00 00 00 e0 ff')))
  t.equal(i64('ff ff ff ff ff ff 1f 00'), Number.MAX_SAFE_INTEGER)
  t.ok(Number.isNaN(i64('00 00 00 00 00 00 20 00')))
  t.ok(Number.isNaN(i64('00 00 00 00 00 00 00 80')))
  const rounded = (golden: string) => wire.readRoundedI64(viewOf(bytesOf(golden)), 0)
  t.equal(rounded('ff ff ff ff ff ff 1f 00'), Number.MAX_SAFE_INTEGER)
  t.equal(rounded('ff ff ff ff ff ff ff 7f'), 2 ** 63)
  t.equal(rounded('00 00 00 00 00 00 00 80'), -(2 ** 63))
  checkWriter(t, (v, at) => wire.writeU64(v, at, Number.MAX_SAFE_INTEGER), 'ff ff ff ff ff ff 1f 00')
})

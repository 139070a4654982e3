/** Structs of extended attributes, locks, ioctls and statx. */

import t from 'tap'
import * as wire from 'virtio-fs-ts/protocol'
import { checkStructs, checkWriter, type RequestStruct } from '../../support/fuse/codec.js'
import { bytesOf, viewOf } from '../../support/hex.js'

const structs: Readonly<Record<string, RequestStruct>> = {
  fuse_setxattr_in: {
    codec: wire.SetxattrIn,
    lenBytes: 8,
    golden: '00 00 01 80  02 00 00 00  01 00 00 00  ff ff ff ff',
    fields: { sizeBytes: [4, 0x8001_0000], flags: [8, 2], setxattrFlags: [12, 1] },
  },
  fuse_getxattr_in: {
    codec: wire.GetxattrIn,
    lenBytes: 8,
    golden: 'ff ff ff ff  ee ee ee ee',
    fields: { sizeBytes: [4, 0xffff_ffff] },
  },
  fuse_lk_in: {
    codec: wire.LkIn,
    lenBytes: 48,
    golden: `
      07 06 05 04 03 02 01 00  # fh
      01 00 00 80 02 00 00 ff  # owner
      00 10 00 00 05 00 00 00  # lk.start
      ff 1f 00 00 05 00 00 00  # lk.end
      01 00 00 00              # lk.type
      ea 03 00 00              # lk.pid
      01 00 00 00              # lk_flags
      ff ff ff ff              # padding`,
    fields: {
      handle: [8, 0x1020304050607],
      ownerLow: [12, 0x8000_0001],
      ownerHigh: [16, 0xff00_0002],
      startBytes: [24, 0x5_0000_1000],
      lastByte: [32, 0x5_0000_1fff],
      type: [36, 1],
      pid: [40, 1002],
      lkFlags: [44, 1],
    },
  },
  fuse_ioctl_in: {
    codec: wire.IoctlIn,
    lenBytes: 32,
    golden: `
      07 06 05 04 03 02 01 00  # fh
      10 00 00 00              # flags
      01 66 08 80              # cmd
      ff ff ff ff ff ff ff ff  # arg
      04 00 00 00              # in_size
      08 00 00 00              # out_size`,
    fields: {
      handle: [8, 0x1020304050607],
      flags: [12, 16],
      command: [16, 0x8008_6601],
      inBytes: [28, 4],
      outBytes: [32, 8],
    },
  },
  fuse_statx_in: {
    codec: wire.StatxIn,
    lenBytes: 24,
    golden: '01 00 00 00  ff ff ff ff  ff ff ff ff ff ff ff ff  00 60 00 00  ff 0f 00 80',
    fields: { mask: [24, 0x8000_0fff] },
  },
  fuse_secctx: {
    codec: wire.Secctx,
    lenBytes: 8,
    golden: '05 00 00 80  ff ff ff ff',
    fields: { sizeBytes: [4, 0x8000_0005] },
  },
}

checkStructs(t, structs)

t.test('replies are written whole', async (t) => {
  checkWriter(t, (v, at) => wire.GetxattrOut.write(v, at, 65_536), '00 00 01 00  00 00 00 00')
  checkWriter(t, (v, at) => wire.CopyFileRangeOut.write(v, at, 0x5_0000_1000), '00 10 00 00 05 00 00 00')
  checkWriter(
    t,
    (v, at) => wire.LkOut.write(v, at, 0x5_0000_1000, 0x1000, 1, 1002),
    '00 10 00 00 05 00 00 00  ff 1f 00 00 05 00 00 00  01 00 00 00  ea 03 00 00',
  )
  checkWriter(
    t,
    (v, at) => wire.LkOut.write(v, at, 7, 0, 2, 0),
    '07 00 00 00 00 00 00 00  ff ff ff ff ff ff ff 7f  02 00 00 00  00 00 00 00',
  )
  checkWriter(
    t,
    (v, at) => wire.IoctlOut.write(v, at, -25),
    'e7 ff ff ff  00 00 00 00  00 00 00 00  00 00 00 00',
  )
})

t.test('sizes of replies, and of what depends on INIT', async (t) => {
  t.same([wire.SetxattrIn.EXT_BYTES, wire.GetxattrOut.BYTES, wire.CopyFileRangeOut.BYTES], [16, 8, 8])
  t.same([wire.LkOut.BYTES, wire.IoctlOut.BYTES], [24, 16])
  t.same([wire.StatxOut.BYTES, wire.StatxOut.STATX_AT], [288, 32])
})

t.test('a range whose last byte is 2^63 - 1 reads as one without an end', async (t) => {
  const lock = `${'00 '.repeat(24)} ff ff ff ff ff ff ff 7f ${'00 '.repeat(16)}`
  t.equal(wire.LkIn.lastByte(viewOf(bytesOf(lock)), 0), -1)
})

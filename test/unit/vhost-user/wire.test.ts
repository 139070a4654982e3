import t from 'tap'
import {
  ConfigAccess,
  DeviceStateTransfer,
  LogBase,
  MemoryRegion,
  MemoryTable,
  MessageHeader,
  readSafeU64,
  SingleRegion,
  U64,
  VringAddress,
  VringState,
  writeSafeU64,
} from '#vhost-user/session/wire'
import { checkReaders, checkWriter } from '../../support/fuse/codec.js'
import { bytesOf, viewOf } from '../../support/hex.js'

// Golden bytes follow QEMU's docs/interop/vhost-user.rst and the structs of linux/vhost_types.h, field by field.

t.test('MessageHeader: request, flags, payload size', async (t) => {
  const golden = `
    0c 00 00 00  # SET_VRING_KICK
    09 00 00 00  # version 1, NEED_REPLY
    28 01 00 00  # 296 bytes`
  t.equal(MessageHeader.BYTES, bytesOf('0c000000 09000000 28010000').length)
  checkReaders(t, MessageHeader, golden, {
    request: [4, 12],
    flags: [8, 9],
    payloadBytes: [12, 296],
  })
  checkWriter(t, (v) => MessageHeader.write(v, 12, 9, 296), golden)
})

t.test('U64: all 64 bits', async (t) => {
  const golden = '01 00 00 70 01 00 00 80'
  t.equal(U64.BYTES, 8)
  t.equal(U64.read(viewOf(bytesOf(golden))), 0x8000_0001_7000_0001n)
  t.throws(() => U64.read(viewOf(new Uint8Array(7))), RangeError)
  checkWriter(t, (v) => U64.write(v, 0x8000_0001_7000_0001n), golden)
})

t.test('VringState: queue index, number', async (t) => {
  const golden = '03 00 00 00  80 00 00 80'
  t.equal(VringState.BYTES, 8)
  checkReaders(t, VringState, golden, { index: [4, 3], num: [8, 0x8000_0080] })
  checkWriter(t, (v) => VringState.write(v, 3, 0x8000_0080), golden)
})

t.test('VringAddress: desc, used, avail in this order, then the log address', async (t) => {
  const golden = `
    01 00 00 00
    01 00 00 00
    00 70 22 06 62 7f 00 00
    40 79 22 06 62 7f 00 00
    00 78 22 06 62 7f 00 00
    40 09 10 00 01 00 00 00`
  t.equal(VringAddress.BYTES, 40)
  checkReaders(t, VringAddress, golden, {
    index: [4, 1],
    flags: [8, 1],
    descUva: [16, 0x7f6206227000],
    usedUva: [24, 0x7f6206227940],
    availUva: [32, 0x7f6206227800],
    logGpa: [40, 0x1_0010_0940],
  })
  const [desc, used, avail] = [0x7f6206227000, 0x7f6206227940, 0x7f6206227800]
  checkWriter(t, (v) => VringAddress.write(v, 1, 1, desc, used, avail, 0x1_0010_0940), golden)
})

t.test('LogBase: size, offset in the file', async (t) => {
  const golden = '00 80 00 00 01 00 00 00  00 10 00 00 00 00 00 00'
  t.equal(LogBase.BYTES, 16)
  checkReaders(t, LogBase, golden, { sizeBytes: [8, 0x1_0000_8000], fileOffsetBytes: [16, 4096] })
  checkWriter(t, (v) => LogBase.write(v, 0x1_0000_8000, 4096), golden)
})

t.test('DeviceStateTransfer: direction, phase', async (t) => {
  const golden = '01 00 00 00  02 00 00 00'
  t.equal(DeviceStateTransfer.BYTES, 8)
  checkReaders(t, DeviceStateTransfer, golden, { direction: [4, 1], phase: [8, 2] })
  checkWriter(t, (v) => DeviceStateTransfer.write(v, 1, 2), golden)
})

t.test('MemoryRegion: guest address, size, user address, file offset', async (t) => {
  const golden = `
    00 00 00 00 01 00 00 00
    00 00 00 10 00 00 00 00
    00 f0 ff 03 f9 7f 00 00
    00 10 00 c0 02 00 00 00`
  t.equal(MemoryRegion.BYTES, 32)
  checkReaders(t, MemoryRegion, golden, {
    gpa: [8, 0x1_0000_0000],
    sizeBytes: [16, 0x1000_0000],
    uva: [24, 0x7ff903fff000],
    fileOffsetBytes: [32, 0x2_c000_1000],
  })
  checkWriter(
    t,
    (v, at) => MemoryRegion.write(v, at, 0x1_0000_0000, 0x1000_0000, 0x7ff903fff000, 0x2_c000_1000),
    golden,
  )
})

t.test('MemoryTable: a count, padding, and regions of 32 bytes', async (t) => {
  t.equal(MemoryTable.HEADER_BYTES, 8)
  checkReaders(t, MemoryTable, '02 00 00 00  ff ff ff ff', { regionCount: [4, 2] })
  checkWriter(t, (v) => MemoryTable.writeHeader(v, 2), '02 00 00 00  00 00 00 00')
  t.same([0, 1, 2].map(MemoryTable.regionAt), [8, 40, 72])
})

t.test('SingleRegion: 8 bytes of padding, one region', async (t) => {
  t.equal(SingleRegion.BYTES, 40)
  t.equal(SingleRegion.REGION_AT, 8)
})

t.test('ConfigAccess: offset, size, flags', async (t) => {
  const golden = '24 00 00 00  04 00 00 00  01 00 00 00'
  t.equal(ConfigAccess.HEADER_BYTES, 12)
  checkReaders(t, ConfigAccess, golden, { offsetBytes: [4, 36], sizeBytes: [8, 4], flags: [12, 1] })
  checkWriter(t, (v) => ConfigAccess.writeHeader(v, 36, 4, 1), golden)
})

t.test('a u64 beyond 2^53 - 1 reads as -1 and never as a rounded number', async (t) => {
  const cases: [string, number][] = [
    ['ff ff ff ff ff ff 1f 00', Number.MAX_SAFE_INTEGER],
    ['00 00 00 00 00 00 20 00', -1],
    ['01 00 00 00 00 00 20 00', -1],
    ['ff ff ff ff ff ff ff ff', -1],
    ['00 00 00 80 00 00 00 00', 0x8000_0000],
  ]
  for (const [golden, value] of cases) t.equal(readSafeU64(viewOf(bytesOf(golden)), 0), value, golden)
})

t.test('writeSafeU64 writes every safe integer exactly', async (t) => {
  checkWriter(t, (v, at) => writeSafeU64(v, at, Number.MAX_SAFE_INTEGER), 'ff ff ff ff ff ff 1f 00')
  checkWriter(t, (v, at) => writeSafeU64(v, at, 0x1_8000_0000), '00 00 00 80 01 00 00 00')
})

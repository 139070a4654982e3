/**
 * Each field of each FUSE request and of each descriptor gets values at its limits, one at a time, in an otherwise
 * valid request.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { type Field, fieldBytes, fuseShapes } from '../fuzz/fuse-shapes.js'
import { Device } from '../support/device/device.js'
import { assertSurvival } from '../support/device/survival.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { concat, cstring, u32, u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { INDIRECT, NEXT, RawRing, WRITE } from '../support/fuse/raw-ring.js'

const MIB = 1 << 20
const REQUEST_GPA = 200 * MIB
const REPLY_GPA = 201 * MIB
const END_GPA = 256 * MIB
const REPLY_BYTES = 8192

/** 0, 1, the sign bits of both widths, the largest safe integer, and the neighbours of each. */
const words = [0, 1, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_fffe, 0xffff_ffff]
const powers = [31n, 32n, 53n, 63n].flatMap((bit) => [(1n << bit) - 1n, 1n << bit, (1n << bit) + 1n])
const longs = [0n, 1n, ...powers, (1n << 64n) - 2n, (1n << 64n) - 1n]
const strings = ['', '.', '..', '/', 'n'.repeat(255), 'n'.repeat(256)].map(cstring)
const unended = [new Uint8Array(0), Buffer.from('name')]

/** Bytes of fixed arguments, from uapi fuse.h: the sums of the fields. */
const argBytes: Readonly<Record<string, number>> = {
  ...{
    GETATTR: 16,
    SETATTR: 88,
    MKNOD: 16,
    MKDIR: 8,
    RENAME: 8,
    RENAME2: 16,
    LINK: 8,
    OPEN: 8,
    READ: 40,
    WRITE: 40,
  },
  ...{
    RELEASE: 24,
    FSYNC: 16,
    FLUSH: 24,
    OPENDIR: 8,
    READDIR: 40,
    READDIRPLUS: 40,
    RELEASEDIR: 24,
    FSYNCDIR: 16,
  },
  ...{
    CREATE: 16,
    FALLOCATE: 32,
    LSEEK: 24,
    COPY_FILE_RANGE: 56,
    SYNCFS: 8,
    FORGET: 8,
    LOOKUP: 0,
    UNLINK: 0,
  },
}

const device = await Device.start(t, ['--keep-alive', '--allow-direct-io'])
const heldBefore = device.fdCount()
/** No file may grow beyond the disk of a test machine. */
execFileSync('prlimit', ['--pid', `${device.pid}`, `--fsize=${64 * MIB}:`])
mkdirSync(`${device.directory}/dir`)
writeFileSync(`${device.directory}/file`, 'x'.repeat(5000))

t.test('the shapes of requests are those of fuse.h', async (t) => {
  for (const [name, bytes] of Object.entries(argBytes)) {
    const [, ...fields] = fuseShapes.find(([opcode]) => opcode === Op[name as keyof typeof Op]) ?? [0]
    t.equal(
      fields.reduce((sum, field) => sum + fieldBytes(field), 0),
      bytes,
      name,
    )
  }
})

/** An ordinary value, and those at the limits. */
function valuesOf(
  field: Field,
  known: { handle: bigint; nodeid: bigint },
): readonly [Uint8Array, ...Uint8Array[]] {
  switch (field) {
    case 'handle':
      return [u64(known.handle), ...longs.map((value) => u64(value))]
    case 'nodeid':
      return [u64(known.nodeid), ...longs.map((value) => u64(value))]
    case 'u64':
    case 'offset':
      return [u64(0), ...longs.map((value) => u64(value))]
    case 'name':
      return [cstring('name'), ...strings, ...unended]
    case 'text':
      return [cstring('target'), cstring('t'.repeat(4096)), ...unended]
    case 'data':
      return [new Uint8Array(16), new Uint8Array(0), new Uint8Array(65_536)]
    default:
      return [u32(field === 'size' ? 16 : 0), ...words.map((value) => u32(value))]
  }
}

t.test('every field of every opcode is tried at its limits', { timeout: 200_000 }, async (t) => {
  const fs = mount(t, device, { queueSize: 256 })
  const held = device.fdCount()
  const silent: readonly number[] = [Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT, Op.NOTIFY_REPLY]
  let requests = 0
  const outcomes = new Map<number, number>()
  for (const [opcode, ...fields] of fuseShapes) {
    if (opcode === Op.DESTROY || opcode === Op.INIT) continue
    const isDirectory = (
      [Op.OPENDIR, Op.READDIR, Op.READDIRPLUS, Op.RELEASEDIR, Op.FSYNCDIR] as number[]
    ).includes(opcode)
    const wantsDirectory = isDirectory || fields.includes('name')
    fields.forEach((varied, which) => {
      // Looked up and opened anew, because the request before may have changed anything.
      const nodeid = fs.lookup(ROOT_ID, wantsDirectory ? 'dir' : 'file').nodeid
      const { handle } = isDirectory ? fs.opendir(nodeid) : fs.open(fs.lookup(ROOT_ID, 'file').nodeid, 2)
      const [, ...edges] = valuesOf(varied, { handle, nodeid })
      for (const edge of edges) {
        const args = fields.map((field, n) => (n === which ? edge : valuesOf(field, { handle, nodeid })[0]))
        const reply = silent.includes(opcode) ? 'none' : { argBytes: 0, dataBytes: REPLY_BYTES }
        const { error } = fs.call({ opcode, nodeid, args: concat(...args), reply })
        outcomes.set(error, (outcomes.get(error) ?? 0) + 1)
        requests++
      }
      fs.init()
      execFileSync('sh', ['-c', 'chmod -R u+rwx . ; mkdir -p dir ; [ -f file ] || echo > file'], {
        cwd: device.directory,
      })
    })
  }
  t.comment(`${requests} requests, by error: ${JSON.stringify([...outcomes])}`)
  t.ok(requests > 1500 && (outcomes.get(0) ?? 0) > 0)
  t.equal(device.fdCount(), held, 'nothing is left open')
  fs.close()
})

t.test('a lock on the longest range that a Number holds does not end the share', async (t) => {
  const fs = mount(t, device)
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const { handle } = fs.open(nodeid, 2)
  for (const opcode of [31, 32, 33]) {
    for (const last of [(1n << 53n) - 2n, (1n << 53n) - 1n, 1n << 53n, (1n << 63n) - 1n]) {
      const args = concat(u64(handle, 1, 0, last), u32(0, 1, 0, 0))
      t.equal(
        fs.call({ opcode, nodeid, args, reply: { argBytes: 0, dataBytes: 24 } }).error,
        0,
        `${opcode} to ${last}`,
      )
    }
  }
  fs.close()
})

t.test('every field of the header is tried at its limits', async (t) => {
  const fs = mount(t, device)
  const args = concat(cstring('file'))
  const fields = [
    u32(40 + args.length),
    u32(Op.LOOKUP),
    u64(7),
    u64(ROOT_ID),
    u32(0),
    u32(0),
    u32(1),
    u32(0),
  ] as const
  const ring = new RawRing(fs, REQUEST_QUEUE)
  fields.forEach((field, which) => {
    const edges = field.length === 8 ? longs.map((value) => u64(value)) : words.map((value) => u32(value))
    for (const edge of edges) {
      // Opcodes at the limits are unknown, or FORGET: none of them ends the session.
      const header = concat(...fields.map((plain, n) => (n === which ? edge : plain)))
      fs.frontend.write(REQUEST_GPA, concat(header, args))
      const { writtenBytes } = ring.submitChain([
        { gpa: REQUEST_GPA, lenBytes: 40 + args.length },
        { gpa: REPLY_GPA, lenBytes: 144, flags: WRITE },
      ])
      const whole = new DataView(fs.frontend.read(REPLY_GPA, 16).buffer)
      if (writtenBytes !== 0 && whole.getUint32(0, true) !== writtenBytes)
        t.fail(`field ${which}: ${writtenBytes} bytes, not ${whole.getUint32(0, true)}`)
    }
  })
  t.equal(fs.lookup(ROOT_ID, 'file').attr.mode & 0o170000, 0o100000)
  fs.close()
})

t.test(
  'every field of a descriptor is tried at its limits, in the table and in an indirect one',
  async (t) => {
    const fs = mount(t, device)
    const ring = new RawRing(fs, REQUEST_QUEUE)
    const request = concat(u32(40, Op.STATFS), u64(7), u64(ROOT_ID), u32(0, 0, 1, 0))
    fs.frontend.write(REQUEST_GPA, request)
    const ends = [END_GPA - 40, END_GPA - 39, END_GPA - 1, END_GPA, END_GPA + 1].map(BigInt)
    const flags = Array.from({ length: 16 }, (_, n) => n).concat(0x7fff, 0x8000, 0xffff)
    const nexts = [0, 1, ring.firstIndex, ring.size - 1, ring.size, ring.size + 1, 0x7fff, 0x8000, 0xffff]
    for (const indirect of [false, true]) {
      const first = indirect ? 0 : ring.firstIndex
      const good = { gpa: BigInt(REQUEST_GPA), lenBytes: 40, flags: NEXT, next: first + 1 }
      const reply = { gpa: REPLY_GPA, lenBytes: 96, flags: WRITE }
      const varied = [
        ...[...longs, ...ends].map((gpa) => ({ ...good, gpa })),
        ...[...words, 39, 41].map((lenBytes) => ({ ...good, lenBytes })),
        ...flags
          .filter((word) => (word & INDIRECT) === 0 || !indirect)
          .map((word) => ({ ...good, flags: word })),
        ...nexts.map((next) => ({ ...good, next })),
      ]
      for (const descriptor of varied) {
        if (indirect) {
          ring.submitIndirect([descriptor, reply], REQUEST_GPA + 4096)
        } else {
          ring.write([descriptor, reply])
          ring.submit()
        }
      }
      // If the request was marked as writable, the reply is written over it.
      fs.frontend.write(REQUEST_GPA, request)
      ring.write([good, reply])
      t.equal(
        indirect
          ? ring.submitIndirect([good, reply], REQUEST_GPA + 4096).writtenBytes
          : ring.submit().writtenBytes,
        96,
      )
    }
    fs.close()
  },
)

t.test('the device goes on', async (t) => {
  execFileSync('chmod', ['-R', 'u+rwx', device.directory])
  t.ok(readdirSync(device.directory).includes('file'))
  await assertSurvival(t, device, heldBefore)
})

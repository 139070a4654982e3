import { strict as assert } from 'node:assert'
import { closeSync, constants, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs'
import type { Case, Stage } from '../support/device/cases.js'
import { Op, WRITE_CACHE } from '../support/fuse/fuse-abi.js'
import { concat, type Id, u32, u64 } from '../support/fuse/fuse-wire.js'
import { errorOf, fails } from '../support/fuse/refusals.js'
import { pattern } from '../support/pattern.js'

const { O_APPEND, O_RDONLY, O_RDWR, O_WRONLY } = constants
const KIB = 1024
const GIB = 1n << 30n
const EINVAL = 22

const bytes = (text: string) => Uint8Array.from(Buffer.from(text))
const text = (data: Uint8Array) => Buffer.from(data).toString()

/** A new file that is open for reading and writing, released when `work` is done. */
export function withFile(stage: Stage, work: (file: bigint, handle: bigint) => void): void {
  const { fs, dir } = stage
  const { nodeid, handle } = fs.create(dir, 'file', O_RDWR)
  work(nodeid, handle)
  fs.release(nodeid, handle)
}

export const dataCases: readonly Case[] = [
  {
    name: 'WRITE and READ move what they are given, of every length around a page and up to 200 KiB',
    run(stage) {
      const { fs, path } = stage
      withFile(stage, (file, handle) => {
        for (const lenBytes of [1, 3, 4, 15, 4095, 4096, 4097, 8191, 65_536, 200 * KIB + 5]) {
          const data = pattern(lenBytes, lenBytes)
          assert.equal(fs.write(file, handle, 0, data), lenBytes)
          assert.deepEqual(fs.read(file, handle, 0, lenBytes), data)
          assert.deepEqual(readFileSync(`${path}/file`).subarray(0, lenBytes), Buffer.from(data))
        }
      })
    },
  },
  {
    name: 'READ ends with the file: short at its end, empty behind it',
    run(stage) {
      const { fs, path } = stage
      withFile(stage, (file, handle) => {
        writeFileSync(`${path}/file`, 'eleven byte')
        assert.equal(text(fs.read(file, handle, 0, 4096)), 'eleven byte')
        assert.equal(text(fs.read(file, handle, 6, 4096)), ' byte')
        assert.equal(text(fs.read(file, handle, 3, 2)), 've')
        for (const offset of [11n, 12n, 4096n, 1n << 40n, (1n << 53n) - 1n])
          assert.equal(fs.read(file, handle, offset, 4096).length, 0)
        assert.equal(fs.read(file, handle, 0, 0).length, 0)
      })
    },
  },
  {
    name: 'READ gives no more than the reply has room for, whatever it was asked for',
    run(stage) {
      const { fs, path } = stage
      withFile(stage, (file, handle) => {
        writeFileSync(`${path}/file`, pattern(9000, 1))
        assert.deepEqual(fs.read(file, handle, 0, 0xffff_ffff, 100), pattern(9000, 1).subarray(0, 100))
        assert.deepEqual(fs.read(file, handle, 0, 10, 4096), pattern(9000, 1).subarray(0, 10))
      })
    },
  },
  {
    name: 'READ and WRITE beyond 4 GiB and 1 TiB, to the byte',
    run(stage) {
      const { fs, path } = stage
      withFile(stage, (file, handle) => {
        for (const offset of [4n * GIB - 3n, 4n * GIB + 1n, 6n * GIB + 5n, 1024n * GIB]) {
          const data = pattern(5001, Number(offset % 251n))
          assert.equal(fs.write(file, handle, offset, data), 5001)
          assert.deepEqual(fs.read(file, handle, offset, 5001), data)
        }
        assert.equal(statSync(`${path}/file`).size, Number(1024n * GIB) + 5001)
        assert.deepEqual(fs.read(file, handle, 5n * GIB, 100), new Uint8Array(100))
      })
    },
  },
  {
    name: 'an offset of 2^53 and more: READ finds the end, LSEEK ENXIO, WRITE and FALLOCATE and COPY EFBIG',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, handle) => {
        const at = [1n << 53n, (1n << 53n) + 1n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n]
        for (const offset of at) {
          for (const [errno, attempt] of [
            ['ENXIO', () => fs.lseek(file, handle, offset, 3)],
            ['ENXIO', () => fs.lseek(file, handle, offset, 4)],
            ['EFBIG', () => fs.write(file, handle, offset, bytes('x'))],
            ['EFBIG', () => fs.fallocate(file, handle, offset, 1)],
            ['EFBIG', () => fs.fallocate(file, handle, 0, offset)],
            ['EFBIG', () => fs.copyFileRange([file, handle, offset], [file, handle, 0], 1)],
            ['EFBIG', () => fs.copyFileRange([file, handle, 0], [file, handle, offset], 1)],
          ] as const)
            assert.equal(errorOf(attempt), errno, `${attempt} at ${offset}`)
          assert.equal(fs.read(file, handle, offset, 10).length, 0)
        }
        assert.equal(fs.getattr(file).attr.size, 0n)
      })
    },
  },
  {
    name: 'COPY_FILE_RANGE of more than there can be copies what there is',
    run(stage) {
      const { fs, dir } = stage
      withFile(stage, (from, fromHandle) => {
        const { nodeid: to, handle: toHandle } = fs.create(dir, 'copy', O_RDWR)
        fs.write(from, fromHandle, 0, bytes('everything'))
        for (const lenBytes of [1n << 53n, (1n << 64n) - 1n]) {
          assert.equal(fs.copyFileRange([from, fromHandle, 0], [to, toHandle, 0], lenBytes), 10)
        }
        assert.deepEqual(fs.read(to, toHandle, 0, 20), bytes('everything'))
        fs.release(to, toHandle)
      })
    },
  },
  {
    name: 'nothing reaches past 2^53: no file of the guest ends where a Number cannot say',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, handle) => {
        const last = (1n << 53n) - 1n
        fails('EFBIG', () => fs.write(file, handle, last - 3n, pattern(5, 0)))
        fails('EFBIG', () => fs.fallocate(file, handle, last - 3n, 5))
        fails('EFBIG', () => fs.copyFileRange([file, handle, 0], [file, handle, last - 3n], 5))
        assert.equal(fs.getattr(file).attr.size, 0n)
      })
    },
  },
  {
    name: 'WRITE that says it brings more than it brings: EINVAL; less is written as it says',
    run(stage) {
      const { fs, path } = stage
      withFile(stage, (file, handle) => {
        const write = (sizeBytes: number, data: Uint8Array) => {
          const args = concat(u64(handle, 0), u32(sizeBytes, 0), u64(0), u32(0, 0))
          return fs.call({ opcode: Op.WRITE, nodeid: file, args, data, reply: { argBytes: 8 } })
        }
        assert.equal(write(5, bytes('four')).error, EINVAL)
        assert.equal(write(0xffff_ffff, bytes('four')).error, EINVAL)
        assert.deepEqual(write(2, bytes('four')), { error: 0, body: u32(2, 0) })
        assert.deepEqual(write(0, bytes('')), { error: 0, body: u32(0, 0) })
        assert.equal(readFileSync(`${path}/file`, 'utf8'), 'fo')
      })
    },
  },
  {
    name: 'WRITE of an append goes to the end, wherever the guest thinks that is; a write-back does not',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, 'start')
      const file = fs.lookup(dir, 'file').nodeid
      const { handle } = fs.open(file, O_WRONLY | O_APPEND)
      fs.write(file, handle, 0, bytes(' more'), O_WRONLY | O_APPEND)
      assert.equal(readFileSync(`${path}/file`, 'utf8'), 'start more')
      fs.write(file, handle, 0, bytes('STA'), O_WRONLY | O_APPEND, WRITE_CACHE)
      assert.equal(readFileSync(`${path}/file`, 'utf8'), 'STArt more')
      // The flags of the request decide, not those of the open (fcntl F_SETFL in the guest).
      fs.write(file, handle, 0, bytes('sta'), O_WRONLY)
      assert.equal(readFileSync(`${path}/file`, 'utf8'), 'start more')
      fs.release(file, handle)
    },
  },
  {
    name: 'files stay sparse: what was never written takes no room',
    run(stage) {
      const { fs, path } = stage
      withFile(stage, (file, handle) => {
        fs.write(file, handle, 64n << 20n, bytes('end'))
        assert.equal(statSync(`${path}/file`).size, (64 << 20) + 3)
        assert.ok(statSync(`${path}/file`).blocks * 512 < 1 << 20)
        fs.setattr(file, { size: 1n << 40n })
        assert.ok(fs.getattr(file).attr.blocks * 512n < 1n << 20n)
      })
    },
  },
  {
    name: 'LSEEK finds where data and holes begin, and the end as a hole',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, handle) => {
        const mib = 1n << 20n
        fs.write(file, handle, 0, pattern(65_536, 1))
        fs.write(file, handle, 8n * mib, pattern(65_536, 2))
        const size = 8n * mib + 65_536n
        assert.equal(fs.lseek(file, handle, 0, 3), 0n)
        assert.equal(fs.lseek(file, handle, 0, 4), 65_536n)
        assert.equal(fs.lseek(file, handle, mib, 3), 8n * mib)
        assert.equal(fs.lseek(file, handle, mib, 4), mib)
        assert.equal(fs.lseek(file, handle, 8n * mib, 4), size)
        for (const offset of [size, size + 1n, (1n << 53n) - 1n])
          for (const whence of [3, 4]) fails('ENXIO', () => fs.lseek(file, handle, offset, whence))
      })
    },
  },
  {
    name: 'LSEEK and READ beyond what a Number can count, where a file of the host has it: EOVERFLOW, no rounded position',
    run(stage) {
      const { fs, path } = stage
      withFile(stage, (file, handle) => {
        const last = (1n << 53n) - 4096n
        if (!writeOnHost(`${path}/file`, 8192, last)) {
          fails('EFBIG', () => fs.setattr(file, { size: last }))
          return
        }
        assert.equal(fs.getattr(file).attr.size, last + 8192n)
        assert.equal(fs.lseek(file, handle, last, 3), last)
        fails('EOVERFLOW', () => fs.lseek(file, handle, last, 4))
        fails('EOVERFLOW', () => fs.lseek(file, handle, last + 4096n, 3))
        fails('EOVERFLOW', () => fs.read(file, handle, last + 4096n, 10))
      })
    },
  },
  {
    name: 'LSEEK from the present position, of which there is none, and of unknown kinds: EINVAL',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, handle) => {
        fs.write(file, handle, 0, bytes('text'))
        for (const whence of [1, 5, 0x8000_0000, 0xffff_ffff])
          fails('EINVAL', () => fs.lseek(file, handle, 0, whence))
      })
    },
  },
  {
    name: 'FALLOCATE makes room with and without growing the file, and punches holes',
    run(stage) {
      const { fs, path } = stage
      withFile(stage, (file, handle) => {
        fs.fallocate(file, handle, 0, 1_000_000)
        assert.equal(statSync(`${path}/file`).size, 1_000_000)
        assert.ok(fs.getattr(file).attr.blocks * 512n >= 1_000_000n)
        fs.fallocate(file, handle, 1_000_000, 1_000_000, 1)
        assert.equal(fs.getattr(file).attr.size, 1_000_000n)
        fs.write(file, handle, 0, pattern(12_288, 3))
        fs.fallocate(file, handle, 4096, 4096, 3)
        const data = fs.read(file, handle, 0, 12_288)
        assert.deepEqual(data.subarray(4096, 8192), new Uint8Array(4096))
        assert.deepEqual(data.subarray(8192), pattern(12_288, 3).subarray(8192))
      })
    },
  },
  {
    name: 'FALLOCATE: EINVAL for no bytes, EOPNOTSUPP for an unknown mode, EBADF on a read-only handle',
    run(stage) {
      const { fs } = stage
      withFile(stage, (file, handle) => {
        fails('EINVAL', () => fs.fallocate(file, handle, 0, 0))
        for (const mode of [0x80, 0x8000_0000, 0xffff_ffff])
          assert.match(
            errorOf(() => fs.fallocate(file, handle, 0, 4096, mode)),
            /^(EOPNOTSUPP|ENOTSUP)$/,
          )
        const readable = fs.open(file, O_RDONLY).handle
        fails('EBADF', () => fs.fallocate(file, readable, 0, 1))
        fs.release(file, readable)
      })
    },
  },
  ...copyCases(),
]

/** Returns false if the file system has no files that long. */
function writeOnHost(path: string, lenBytes: number, offset: bigint): boolean {
  const fd = openSync(path, O_RDWR)
  try {
    return writeSync(fd, pattern(lenBytes, 1), 0, lenBytes, Number(offset)) === lenBytes
  } catch {
    return false
  } finally {
    closeSync(fd)
  }
}

function copyCases(): Case[] {
  return [
    {
      name: 'COPY_FILE_RANGE copies between files and within one, and ends with the source',
      run(stage) {
        const { fs, dir, path } = stage
        withFile(stage, (from, fromHandle) => {
          const data = pattern(300_000, 7)
          const other = fs.create(dir, 'other', O_RDWR)
          const copy = (at: Id, to: bigint, toHandle: bigint, toAt: Id, lenBytes: Id) =>
            fs.copyFileRange([from, fromHandle, at], [to, toHandle, toAt], lenBytes)
          writeFileSync(`${path}/file`, data)
          assert.equal(copy(1000, other.nodeid, other.handle, 5, 200_000), 200_000)
          assert.deepEqual(
            readFileSync(`${path}/other`).subarray(5),
            Buffer.from(data.subarray(1000, 201_000)),
          )
          assert.equal(copy(0, from, fromHandle, 400_000, 10_000), 10_000)
          // Longer than the old reply can hold: 2^32 and more.
          assert.equal(copy(200_000, other.nodeid, other.handle, 0, 1n << 33n), 210_000)
          assert.equal(copy(1_000_000, other.nodeid, other.handle, 0, 10), 0)
          fs.release(other.nodeid, other.handle)
        })
      },
    },
    {
      name: 'COPY_FILE_RANGE: EINVAL for flags and for an overlap, EBADF for a handle that may not',
      run(stage) {
        const { fs } = stage
        withFile(stage, (file, handle) => {
          fs.write(file, handle, 0, pattern(100, 1))
          for (const flags of [1n, 1n << 32n, 1n << 63n])
            fails('EINVAL', () => fs.copyFileRange([file, handle, 0], [file, handle, 200], 10, flags))
          fails('EINVAL', () => fs.copyFileRange([file, handle, 0], [file, handle, 50], 100))
          const readable = fs.open(file, O_RDONLY).handle
          fails('EBADF', () => fs.copyFileRange([file, handle, 0], [file, readable, 200], 10))
          fs.release(file, readable)
        })
      },
    },
  ]
}

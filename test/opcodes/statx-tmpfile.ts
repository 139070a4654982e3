import { strict as assert } from 'node:assert'
import { constants, lstatSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { assertAttr, type Case } from '../support/device/cases.js'
import { Op } from '../support/fuse/fuse-abi.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { statx } from '../support/fuse/posix-calls.js'
import { fails } from '../support/fuse/refusals.js'
import { pattern } from '../support/pattern.js'
import { STALE_NODE } from './lookup.js'

const { O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } = constants
const STATX_BASIC_STATS = 0x7ff
const STATX_BTIME = 0x800

export const statxCases: readonly Case[] = [
  {
    name: 'STATX says what the host says, the time of birth too',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, 'twelve bytes', { mode: 0o640 })
      const { nodeid } = fs.lookup(dir, 'file')
      const st = lstatSync(`${path}/file`, { bigint: true })
      const got = statx(fs, nodeid, STATX_BASIC_STATS | STATX_BTIME)
      assert.equal(got.mask & STATX_BASIC_STATS, STATX_BASIC_STATS)
      assert.deepEqual(
        [got.ino, got.size, BigInt(got.mode), BigInt(got.uid), got.mtimeNs],
        [st.ino, st.size, st.mode, st.uid, st.mtimeNs],
      )
      if ((got.mask & STATX_BTIME) !== 0) assert.equal(got.btimeNs, st.birthtimeNs)
      assert.ok(
        got.rest.every((byte) => byte === 0),
        'nothing of the host behind what FUSE knows',
      )
    },
  },
  {
    name: 'STATX of a node that was made up: EBADF; with a mask of everything: what FUSE knows',
    run({ fs, dir }) {
      fails('EBADF', () => statx(fs, STALE_NODE, STATX_BASIC_STATS))
      assert.equal(statx(fs, dir, 0xffff_ffff).mask & ~(STATX_BASIC_STATS | STATX_BTIME), 0)
    },
  },
]

export const tmpfileCases: readonly Case[] = [
  {
    name: 'TMPFILE makes a file without a name, which LINK gives one',
    run({ fs, path, dir }) {
      const { nodeid, handle, attr, entryValidNs } = fs.tmpfile(dir, O_RDWR, 0o640)
      assert.deepEqual(readdirSync(path), [])
      // Linux's name of it is "/", by which it could not look it up again.
      assert.ok(entryValidNs > 365n * 86_400n * 1_000_000_000n)
      fails('EINVAL', () => fs.lookup(dir, '/'))
      assert.deepEqual([attr.nlink, attr.mode], [0, 0o100640])
      fs.write(nodeid, handle, 0, pattern(5000, 1))
      assert.deepEqual(fs.read(nodeid, handle, 0, 5000), pattern(5000, 1))
      assert.equal(fs.getattr(nodeid).attr.size, 5000n)
      assert.equal(fs.link(nodeid, dir, 'named').nodeid, nodeid)
      assertAttr(fs.getattr(nodeid).attr, `${path}/named`)
      assert.deepEqual(readFileSync(`${path}/named`), Buffer.from(pattern(5000, 1)))
      fs.release(nodeid, handle)
    },
  },
  {
    name: 'TMPFILE with O_EXCL never gets a name: ENOENT; it goes with its handle',
    run({ fs, dir }) {
      const { nodeid, handle } = fs.tmpfile(dir, O_RDWR | O_EXCL)
      fails('ENOENT', () => fs.link(nodeid, dir, 'named'))
      fs.release(nodeid, handle)
    },
  },
  {
    name: 'TMPFILE: EBADF in no directory, EINVAL for reading alone',
    run({ fs, dir }) {
      const file = fs.mknod(dir, 'file', 0o100644).nodeid
      for (const node of [STALE_NODE, 0n, file]) fails('EBADF', () => fs.tmpfile(node, O_RDWR))
      fails('EINVAL', () => fs.tmpfile(dir, O_RDONLY))
      const { nodeid, handle } = fs.tmpfile(dir, O_WRONLY)
      fs.release(nodeid, handle)
    },
  },
]

export const copy64Cases: readonly Case[] = [
  {
    name: 'COPY_FILE_RANGE_64 copies, and says how much in 64 bits',
    run({ fs, path, dir }) {
      const from = fs.create(dir, 'from', O_RDWR)
      const to = fs.create(dir, 'to', O_RDWR)
      fs.write(from.nodeid, from.handle, 0, pattern(100_000, 1))
      const copy = (lenBytes: bigint, flags = 0n) => {
        const args = u64(from.handle, 0, to.nodeid, to.handle, 7, lenBytes, flags)
        return fs
          .succeed({ opcode: Op.COPY_FILE_RANGE_64, nodeid: from.nodeid, args, reply: { argBytes: 8 } })
          .u64()
      }
      assert.equal(copy(90_000n), 90_000n)
      assert.equal(copy(1n << 62n), 100_000n)
      assert.equal(statSync(`${path}/to`).size, 100_007)
      fails('EINVAL', () => copy(1n, 1n))
      fails('EINVAL', () => copy(1n, 1n << 63n))
      const short = concat(u64(from.handle, 0, to.nodeid, to.handle, 7, 5), u32(0))
      const nodeid = from.nodeid
      const reply = { argBytes: 8 }
      assert.notEqual(fs.call({ opcode: Op.COPY_FILE_RANGE_64, nodeid, args: short, reply }).error, 0)
      fs.release(from.nodeid, from.handle)
      fs.release(to.nodeid, to.handle)
    },
  },
]

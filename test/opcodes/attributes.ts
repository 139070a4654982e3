import { strict as assert } from 'node:assert'
import { execFileSync } from 'node:child_process'
import { chmodSync, lstatSync, mkdirSync, statfsSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import { assertAttr, type Case, type Stage } from '../support/device/cases.js'
import { Fattr, Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { setattrArgs } from '../support/fuse/fuse-args.js'
import { u32 } from '../support/fuse/fuse-wire.js'
import { errorOf, fails } from '../support/fuse/refusals.js'
import { STALE_NODE } from './lookup.js'

const O_RDWR = 2
const R_OK = 4
const W_OK = 2
const X_OK = 1

function makeFile({ fs, path, dir }: Stage, text = ''): bigint {
  writeFileSync(`${path}/file`, text)
  return fs.lookup(dir, 'file').nodeid
}

export const attributeCases: readonly Case[] = [
  {
    name: 'GETATTR says what the host says, of the root, a file, and a file by its handle',
    run(stage) {
      const { fs, path, device } = stage
      const file = makeFile(stage, 'text')
      assertAttr(fs.getattr(ROOT_ID).attr, device.directory)
      assertAttr(fs.getattr(file).attr, `${path}/file`)
      const { handle } = fs.open(file, O_RDWR)
      assertAttr(fs.getattr(file, handle).attr, `${path}/file`)
      fs.release(file, handle)
    },
  },
  {
    name: 'GETATTR sees at once what changed on the host',
    run(stage) {
      const { fs, path } = stage
      const file = makeFile(stage)
      writeFileSync(`${path}/file`, 'longer')
      chmodSync(`${path}/file`, 0o4711)
      assertAttr(fs.getattr(file).attr, `${path}/file`)
    },
  },
  {
    name: 'GETATTR, SETATTR, STATFS, ACCESS, SYNCFS of a node that was made up: EBADF',
    run({ fs }) {
      for (const node of [STALE_NODE, 0n, 1n << 32n, (1n << 53n) + 1n, (1n << 64n) - 1n]) {
        for (const attempt of [
          () => fs.getattr(node),
          () => fs.setattr(node, { mode: 0 }),
          () => fs.statfs(node),
          () => fs.access(node, 0),
          () => fs.syncfs(node),
        ])
          fails('EBADF', attempt, attempt.toString())
      }
    },
  },
  {
    name: 'SETATTR sets the mode, all twelve bits of it',
    run(stage) {
      const { fs, path } = stage
      const file = makeFile(stage)
      for (const mode of [0o600, 0o777, 0o000, 0o7777, 0o4755]) {
        // The type of a file cannot be set.
        assertAttr(fs.setattr(file, { mode: 0o120000 | mode }).attr, `${path}/file`)
        assert.equal(lstatSync(`${path}/file`).mode, 0o100000 | mode)
      }
    },
  },
  {
    name: 'SETATTR sets owner and group, each alone and both',
    needsRoot: 'chown',
    run(stage) {
      const { fs, path } = stage
      const file = makeFile(stage)
      fs.setattr(file, { uid: 1000 })
      fs.setattr(file, { gid: 2000 })
      const { attr } = fs.setattr(file, { uid: 3000, gid: 0x7fff_ffff })
      assert.deepEqual([attr.uid, attr.gid], [3000, 0x7fff_ffff])
      assertAttr(attr, `${path}/file`)
    },
  },
  {
    name: 'SETATTR of a symbolic link: owner and times are its own, a mode it has not (EOPNOTSUPP)',
    needsRoot: 'chown',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/target`, '')
      symlinkSync('target', `${path}/link`)
      const before = lstatSync(`${path}/target`, { bigint: true })
      const link = fs.lookup(dir, 'link').nodeid
      fs.setattr(link, { uid: 1000, atimeNs: 5n, mtimeNs: 6n })
      const st = lstatSync(`${path}/link`, { bigint: true })
      assert.deepEqual([st.uid, st.mtimeNs], [1000n, 6n])
      assert.deepEqual(lstatSync(`${path}/target`, { bigint: true }), before)
      const refusal = errorOf(() => fs.setattr(link, { mode: 0o600 }))
      assert.ok(refusal === 'EOPNOTSUPP' || refusal === 'ENOTSUP', refusal)
    },
  },
  {
    name: 'SETATTR sets the size, by node id and by handle: shorter, longer, and beyond 4 GiB',
    run(stage) {
      const { fs, path } = stage
      const file = makeFile(stage, 'text')
      const { handle } = fs.open(file, O_RDWR)
      for (const size of [2n, 1000n, 0n, (1n << 32n) + 1n, (1n << 40n) + 7n]) {
        assert.equal(fs.setattr(file, { size }).attr.size, size)
        fs.setattr(file, { size: 1 })
        const { attr } = fs.setattr(file, { size, handle })
        assert.equal(attr.size, size)
        assertAttr(attr, `${path}/file`)
      }
      fs.release(file, handle)
    },
  },
  {
    name: 'SETATTR of a size: EISDIR, EINVAL for a fifo or a read-only handle, EBADF, EFBIG beyond 2^53',
    run(stage) {
      const { fs, dir } = stage
      const file = makeFile(stage, 'text')
      const fifo = fs.mknod(dir, 'fifo', 0o010644).nodeid
      const { handle } = fs.open(file, 0)
      const error = (node: bigint, size: bigint, by?: bigint) =>
        errorOf(() => fs.setattr(node, by === undefined ? { size } : { size, handle: by }))
      assert.equal(error(dir, 0n), 'EISDIR')
      assert.equal(error(fifo, 0n), 'EINVAL')
      assert.equal(error(file, 0n, handle), 'EINVAL')
      assert.equal(error(file, 0n, handle + 7n), 'EBADF')
      assert.equal(error(file, 0n, (1n << 64n) - 1n), 'EBADF')
      for (const size of [1n << 53n, (1n << 53n) + 1n, 1n << 63n, (1n << 64n) - 1n])
        assert.equal(error(file, size), 'EFBIG', `${size}`)
      fs.release(file, handle)
      assert.equal(fs.getattr(file).attr.size, 4n)
    },
  },
  {
    name: 'SETATTR sets times to the nanosecond, also before 1970 and after 2038, each alone or to now',
    run(stage) {
      const { fs, path } = stage
      const file = makeFile(stage)
      for (const ns of [0n, 1n, 999_999_999n, -1n, -1_500_000_000n, 4_102_444_800_123_456_789n]) {
        const { attr } = fs.setattr(file, { atimeNs: ns, mtimeNs: ns })
        assert.deepEqual([attr.atimeNs, attr.mtimeNs], [ns, ns])
        assertAttr(attr, `${path}/file`)
      }
      const alone = fs.setattr(file, { mtimeNs: 77n }).attr
      assert.deepEqual([alone.atimeNs, alone.mtimeNs], [4_102_444_800_123_456_789n, 77n])
      const beforeNs = BigInt(Date.now() - 60_000) * 1_000_000n
      const now = fs.setattr(file, { atimeNs: 'now' }).attr
      assert.equal(now.mtimeNs, 77n)
      assert.ok(now.atimeNs > beforeNs)
    },
  },
  {
    name: 'SETATTR of times that are no fraction of a second: EINVAL',
    run(stage) {
      const { fs } = stage
      const file = makeFile(stage)
      const error = (args: Uint8Array) =>
        fs.call({ opcode: Op.SETATTR, nodeid: file, args, reply: { argBytes: 104 } }).error
      for (const [valid, at] of [
        [Fattr.ATIME, 56],
        [Fattr.MTIME, 60],
      ] as const) {
        for (const nsec of [1_000_000_000, 0x3fff_ffff, 0x3fff_fffe, 0xffff_ffff]) {
          const args = setattrArgs({})
          args.set(u32(valid), 0)
          args.set(u32(nsec), at)
          assert.equal(error(args), os.errno.EINVAL, `${nsec}`)
        }
      }
    },
  },
  {
    name: 'SETATTR of times beyond any calendar, as xfstests generic/634 sets them, gives the last one that there is',
    run(stage) {
      const { fs, dir, path } = stage
      const second = 1_000_000_000n
      const furthest = BigInt(Number.MAX_SAFE_INTEGER)
      for (const seconds of [1n << 53n, (1n << 63n) - 1n, -(1n << 53n), -(1n << 63n)]) {
        writeFileSync(`${path}/at${seconds}`, '')
        const node = fs.lookup(dir, `at${seconds}`).nodeid
        const { attr } = fs.setattr(node, { atimeNs: seconds * second, mtimeNs: seconds * second })
        // The host's file system has a last time of its own.
        const beside = `${path}/beside${seconds}`
        execFileSync('touch', ['-d', `@${seconds < 0n ? -furthest : furthest}`, beside])
        const { mtimeNs } = statSync(beside, { bigint: true })
        assert.deepEqual([attr.atimeNs, attr.mtimeNs], [mtimeNs, mtimeNs], `${seconds}`)
      }
      // A time that is not asked for does not count.
      const node = makeFile(stage)
      const args = setattrArgs({ mtimeNs: 5n })
      new DataView(args.buffer, args.byteOffset).setBigInt64(32, (1n << 63n) - 1n, true)
      assert.equal(fs.call({ opcode: Op.SETATTR, nodeid: node, args, reply: { argBytes: 104 } }).error, 0)
      assert.equal(fs.getattr(node).attr.mtimeNs, 5n)
    },
  },
  {
    name: 'SETATTR of everything at once leaves exactly what was asked for',
    needsRoot: 'chown',
    run(stage) {
      const { fs, path } = stage
      const file = makeFile(stage, 'text')
      const { attr } = fs.setattr(file, {
        mode: 0o640,
        uid: 1000,
        gid: 1000,
        size: 9,
        atimeNs: 11n,
        mtimeNs: 22n,
      })
      assertAttr(attr, `${path}/file`)
      assert.deepEqual([attr.mode, attr.uid, attr.gid], [0o100640, 1000, 1000])
      assert.deepEqual([attr.size, attr.atimeNs, attr.mtimeNs], [9n, 11n, 22n])
    },
  },
  {
    name: 'SETATTR of nothing replies with the attributes',
    run(stage) {
      const file = makeFile(stage, 'text')
      assertAttr(stage.fs.setattr(file, {}).attr, `${stage.path}/file`)
    },
  },
  {
    name: 'STATFS says what the host says',
    run({ fs, path, dir }) {
      const st = statfsSync(path, { bigint: true })
      const got = fs.statfs(dir)
      assert.equal(got.blocks, st.blocks)
      assert.equal(got.files, st.files)
      assert.equal(BigInt(got.bsize), st.bsize)
      assert.equal(BigInt(got.frsize), st.bsize)
      assert.equal(got.namelen, 255)
      assert.ok(got.bfree <= got.blocks && got.bavail <= got.bfree && got.ffree <= got.files)
    },
  },
  {
    name: 'SYNCFS works on the root and on a file, and is EBADF for what cannot be opened',
    run(stage) {
      const { fs, dir } = stage
      fs.syncfs()
      fs.syncfs(makeFile(stage))
      for (const node of [fs.mknod(dir, 'fifo', 0o010644), fs.symlink(dir, 'link', 'file')])
        fails('EBADF', () => fs.syncfs(node.nodeid))
    },
  },
  {
    name: 'ACCESS goes by owner, group and others',
    needsRoot: 'chown',
    run(stage) {
      const { fs } = stage
      const file = makeFile(stage)
      fs.setattr(file, { uid: 1000, gid: 2000 })
      fs.setattr(file, { mode: 0o751 })
      const may = (uid: number, gid: number, mask: number) =>
        errorOf(() => fs.as({ uid, gid }, () => fs.access(file, mask)))
      assert.equal(may(1000, 1, R_OK | W_OK | X_OK), 'no error')
      assert.equal(may(1, 2000, R_OK | X_OK), 'no error')
      assert.equal(may(1, 2000, W_OK), 'EACCES')
      assert.equal(may(1, 1, X_OK), 'no error')
      assert.equal(may(1, 1, R_OK), 'EACCES')
      assert.equal(may(1, 1, 0), 'no error')
    },
  },
  {
    name: 'ACCESS lets root do everything but execute what nobody may execute',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, '', { mode: 0o000 })
      mkdirSync(`${path}/sub`, { mode: 0o000 })
      const file = fs.lookup(dir, 'file').nodeid
      fs.access(file, R_OK | W_OK)
      fails('EACCES', () => fs.access(file, X_OK))
      fs.access(fs.lookup(dir, 'sub').nodeid, R_OK | W_OK | X_OK)
      chmodSync(`${path}/file`, 0o010)
      fs.access(file, X_OK)
    },
  },
]

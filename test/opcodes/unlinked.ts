import { strict as assert } from 'node:assert'
import { constants, existsSync, readFileSync } from 'node:fs'
import type { Case, Stage } from '../support/device/cases.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { fails } from '../support/fuse/refusals.js'
import { pattern } from '../support/pattern.js'

const { O_RDONLY, O_RDWR, O_TRUNC } = constants

/** A file of 10,000 bytes that is open and has no name any more. */
function withUnlinked(stage: Stage, work: (file: bigint, handle: bigint) => void): void {
  const { fs, path, dir } = stage
  const { nodeid, handle } = fs.create(dir, 'file', O_RDWR)
  fs.write(nodeid, handle, 0, pattern(10_000, 1))
  fs.unlink(dir, 'file')
  assert.ok(!existsSync(`${path}/file`))
  work(nodeid, handle)
  fs.release(nodeid, handle)
}

/**
 * Opens a file anew as Linux does, which asks once more when it is told that a name that it remembers is out of date: ESTALE.
 * The first answer is ESTALE here, for what has no name on the host.
 */
function openAnew(fs: FuseGuest, file: bigint, flags: number): bigint {
  fails('ESTALE', () => fs.open(file, flags))
  return fs.open(file, flags).handle
}

/** Open files without a name, such as temporary files. */
export const unlinkedCases: readonly Case[] = [
  {
    name: 'an unlinked file is read and written on, by the handle it has and by new ones',
    run(stage) {
      const { fs } = stage
      withUnlinked(stage, (file, handle) => {
        fs.write(file, handle, 10_000, pattern(5, 2))
        assert.deepEqual(fs.read(file, handle, 0, 20_000).subarray(0, 10_000), pattern(10_000, 1))
        const again = openAnew(fs, file, O_RDWR)
        assert.equal(fs.read(file, again, 0, 20_000).length, 10_005)
        fs.write(file, again, 0, pattern(3, 3))
        assert.deepEqual(fs.read(file, handle, 0, 3), pattern(3, 3))
        fs.release(file, again)
        const emptied = openAnew(fs, file, O_RDWR | O_TRUNC)
        assert.equal(fs.getattr(file).attr.size, 0n)
        fs.release(file, emptied)
      })
    },
  },
  {
    name: 'an unlinked file has attributes, and they can be set, by node id and by handle',
    run(stage) {
      const { fs } = stage
      withUnlinked(stage, (file, handle) => {
        assert.equal(fs.getattr(file).attr.nlink, 0)
        assert.equal(fs.getattr(file, handle).attr.size, 10_000n)
        const { attr } = fs.setattr(file, { mode: 0o600, size: 5, atimeNs: 7n, mtimeNs: 8n })
        assert.deepEqual([attr.mode, attr.size, attr.atimeNs, attr.mtimeNs], [0o100600, 5n, 7n, 8n])
        assert.equal(fs.setattr(file, { size: 77, handle }).attr.size, 77n)
      })
    },
  },
  {
    name: 'an unlinked file changes its owner',
    needsRoot: 'chown',
    run(stage) {
      withUnlinked(stage, (file) => {
        const { attr } = stage.fs.setattr(file, { uid: 1000, gid: 2000 })
        assert.deepEqual([attr.uid, attr.gid], [1000, 2000])
      })
    },
  },
  {
    name: 'an unlinked file is flushed, synced, allocated, searched and copied',
    run(stage) {
      const { fs, dir, path } = stage
      withUnlinked(stage, (file, handle) => {
        fs.flush(file, handle)
        fs.fsync(file, handle)
        fs.syncfs(file)
        fs.statfs(file)
        fs.access(file, 6)
        assert.equal(fs.lseek(file, handle, 0, 3), 0n)
        fs.fallocate(file, handle, 0, 20_000)
        assert.equal(fs.getattr(file).attr.size, 20_000n)
        const copy = fs.create(dir, 'copy', O_RDWR)
        assert.equal(fs.copyFileRange([file, handle, 0], [copy.nodeid, copy.handle, 0], 10_000), 10_000)
        assert.deepEqual(readFileSync(`${path}/copy`), Buffer.from(pattern(10_000, 1)))
        fs.release(copy.nodeid, copy.handle)
      })
    },
  },
  {
    name: 'an unlinked file gets no name again: LINK is ENOENT',
    run(stage) {
      withUnlinked(stage, (file) => {
        fails('ENOENT', () => stage.fs.link(file, stage.dir, 'again'))
      })
    },
  },
  {
    name: 'an unlinked file that is forgotten while open is read by its handle until that is released',
    run(stage) {
      const { fs } = stage
      withUnlinked(stage, (file, handle) => {
        fs.forget(file, 1)
        fails('EBADF', () => fs.getattr(file))
        assert.deepEqual(fs.read(file, handle, 0, 10_000), pattern(10_000, 1))
      })
    },
  },
  {
    name: 'an unlinked symbolic link is read on',
    run({ fs, dir }) {
      const { nodeid } = fs.symlink(dir, 'link', '../target')
      fs.unlink(dir, 'link')
      assert.equal(fs.readlink(nodeid), '../target')
      assert.equal(fs.getattr(nodeid).attr.nlink, 0)
    },
  },
  {
    name: 'a file whose name another file took keeps its contents',
    run({ fs, dir }) {
      const one = fs.create(dir, 'name', O_RDWR)
      fs.write(one.nodeid, one.handle, 0, pattern(100, 1))
      fs.unlink(dir, 'name')
      const two = fs.create(dir, 'name', O_RDWR)
      fs.write(two.nodeid, two.handle, 0, pattern(100, 2))
      assert.notEqual(one.nodeid, two.nodeid)
      assert.deepEqual(fs.read(one.nodeid, one.handle, 0, 100), pattern(100, 1))
      const handle = openAnew(fs, one.nodeid, O_RDONLY)
      assert.deepEqual(fs.read(one.nodeid, handle, 0, 100), pattern(100, 1))
      for (const h of [one.handle, handle]) fs.release(one.nodeid, h)
      fs.release(two.nodeid, two.handle)
    },
  },
]

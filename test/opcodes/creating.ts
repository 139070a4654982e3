import { strict as assert } from 'node:assert'
import { chmodSync, linkSync, lstatSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { assertAttr, type Case, type Stage } from '../support/device/cases.js'
import { fails } from '../support/fuse/refusals.js'
import { STALE_NODE } from './lookup.js'

/** Node ids that are no directory of the guest: made up, and a file. */
function notDirectories({ fs, path, dir }: Stage): bigint[] {
  writeFileSync(`${path}/a file`, '')
  return [STALE_NODE, 0n, (1n << 64n) - 1n, fs.lookup(dir, 'a file').nodeid]
}

export const creatingCases: readonly Case[] = [
  {
    name: 'MKDIR makes a directory with exactly the mode that was asked for',
    run({ fs, path, dir }) {
      for (const mode of [0o755, 0o777, 0o700, 0o1777, 0o000]) {
        const entry = fs.mkdir(dir, `d${mode}`, mode)
        assert.equal(entry.attr.mode, 0o40000 | mode)
        assertAttr(entry.attr, `${path}/d${mode}`)
      }
    },
  },
  {
    name: 'MKDIR of a name that is there: EEXIST; in no directory: EBADF',
    run(stage) {
      const { fs, dir } = stage
      fs.mkdir(dir, 'sub')
      fails('EEXIST', () => fs.mkdir(dir, 'sub'))
      for (const parent of notDirectories(stage)) fails('EBADF', () => fs.mkdir(parent, 'x'))
    },
  },
  {
    name: 'MKNOD makes regular files and fifos with exactly the mode that was asked for',
    run({ fs, path, dir }) {
      for (const mode of [0o100644, 0o100666, 0o106755, 0o010600, 0o010666]) {
        const entry = fs.mknod(dir, `n${mode}`, mode)
        assert.equal(entry.attr.mode, mode)
        assertAttr(entry.attr, `${path}/n${mode}`)
      }
    },
  },
  {
    name: 'MKNOD makes sockets and devices with the device number that was asked for',
    needsRoot: 'device nodes',
    run({ fs, path, dir }) {
      for (const [name, mode, rdev] of [
        ['socket', 0o140600, 0],
        ['null', 0o020666, 0x103],
        ['disk', 0o060600, 0x0010_0801],
      ] as const) {
        const { attr } = fs.mknod(dir, name, mode, rdev)
        assert.equal(attr.mode, mode)
        assert.equal(attr.rdev, rdev)
        const st = lstatSync(`${path}/${name}`)
        assert.equal(st.mode, mode)
        assert.equal(st.ino, Number(attr.ino))
      }
    },
  },
  {
    name: 'MKNOD: EEXIST for a name that is there, EBADF in no directory, EPERM for a directory',
    run(stage) {
      const { fs, dir } = stage
      fs.mknod(dir, 'there', 0o100644)
      fails('EEXIST', () => fs.mknod(dir, 'there', 0o100644))
      fails('EPERM', () => fs.mknod(dir, 'sub', 0o040755))
      for (const parent of notDirectories(stage)) fails('EBADF', () => fs.mknod(parent, 'x', 0o100644))
    },
  },
  {
    name: 'SYMLINK and READLINK keep a target as it is, up to the longest',
    run({ fs, path, dir }) {
      const targets = ['x', '../../..', '/', '/etc//passwd', '.', 'ä ö', 't/'.repeat(2047), 'l'.repeat(4095)]
      targets.forEach((target, n) => {
        const entry = fs.symlink(dir, `l${n}`, target)
        assertAttr(entry.attr, `${path}/l${n}`)
        assert.equal(readlinkSync(`${path}/l${n}`), target)
        assert.equal(fs.readlink(entry.nodeid), target)
      })
    },
  },
  {
    name: 'SYMLINK: EEXIST, EBADF in no directory, EINVAL for an empty target, ENAMETOOLONG for 4096 bytes',
    run(stage) {
      const { fs, dir } = stage
      fs.symlink(dir, 'link', 'target')
      fails('EEXIST', () => fs.symlink(dir, 'link', 'other'))
      fails('EINVAL', () => fs.symlink(dir, 'x', ''))
      fails('ENAMETOOLONG', () => fs.symlink(dir, 'x', 'l'.repeat(4096)))
      for (const parent of notDirectories(stage)) fails('EBADF', () => fs.symlink(parent, 'x', 'y'))
    },
  },
  {
    name: 'READLINK: EBADF for a node that was made up, EINVAL for what is no link',
    run({ fs, dir }) {
      fails('EBADF', () => fs.readlink(STALE_NODE))
      const file = fs.mknod(dir, 'file', 0o100644).nodeid
      for (const node of [dir, file]) fails('EINVAL', () => fs.readlink(node))
    },
  },
  {
    name: 'LINK gives a file one more name: the same node id, one more link',
    run({ fs, path, dir }) {
      const sub = fs.mkdir(dir, 'sub').nodeid
      const file = fs.mknod(dir, 'file', 0o100644).nodeid
      const linked = fs.link(file, sub, 'again')
      assert.equal(linked.nodeid, file)
      assert.equal(linked.attr.nlink, 2)
      assertAttr(linked.attr, `${path}/file`)
      assertAttr(linked.attr, `${path}/sub/again`)
    },
  },
  {
    name: 'LINK links a symbolic link itself, and fifos',
    run({ fs, path, dir }) {
      const link = fs.symlink(dir, 'link', '/etc/passwd').nodeid
      assert.equal(fs.link(link, dir, 'again').nodeid, link)
      assert.equal(readlinkSync(`${path}/again`), '/etc/passwd')
      const fifo = fs.mknod(dir, 'fifo', 0o010644).nodeid
      assert.equal(fs.link(fifo, dir, 'fifo again').nodeid, fifo)
    },
  },
  {
    name: 'LINK: EEXIST, EPERM for a directory, EBADF for a node or a parent that is none',
    run(stage) {
      const { fs, dir } = stage
      const file = fs.mknod(dir, 'file', 0o100644).nodeid
      fails('EEXIST', () => fs.link(file, dir, 'file'))
      fails('EPERM', () => fs.link(dir, dir, 'x'))
      fails('EBADF', () => fs.link(STALE_NODE, dir, 'x'))
      fails('EBADF', () => fs.link((1n << 64n) - 1n, dir, 'x'))
      for (const parent of notDirectories(stage)) fails('EBADF', () => fs.link(file, parent, 'x'))
    },
  },
]

export const removingCases: readonly Case[] = [
  {
    name: 'UNLINK removes one name; the file lives on by another',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/one`, 'x')
      linkSync(`${path}/one`, `${path}/two`)
      const { nodeid } = fs.lookup(dir, 'one')
      fs.unlink(dir, 'one')
      assert.deepEqual(readdirSync(path), ['two'])
      assertAttr(fs.getattr(nodeid).attr, `${path}/two`)
    },
  },
  {
    name: 'UNLINK: ENOENT, EISDIR, EBADF in no directory',
    run(stage) {
      const { fs, path, dir } = stage
      mkdirSync(`${path}/sub`)
      fails('ENOENT', () => fs.unlink(dir, 'missing'))
      fails('EISDIR', () => fs.unlink(dir, 'sub'))
      for (const parent of notDirectories(stage)) fails('EBADF', () => fs.unlink(parent, 'x'))
    },
  },
  {
    name: 'RMDIR removes an empty directory',
    run({ fs, path, dir }) {
      mkdirSync(`${path}/sub`)
      fs.rmdir(dir, 'sub')
      assert.deepEqual(readdirSync(path), [])
    },
  },
  {
    name: 'RMDIR: ENOTEMPTY, ENOENT, ENOTDIR, EBADF in no directory',
    run(stage) {
      const { fs, path, dir } = stage
      mkdirSync(`${path}/full/x`, { recursive: true })
      writeFileSync(`${path}/file`, '')
      fails('ENOTEMPTY', () => fs.rmdir(dir, 'full'))
      fails('ENOENT', () => fs.rmdir(dir, 'missing'))
      fails('ENOTDIR', () => fs.rmdir(dir, 'file'))
      for (const parent of notDirectories(stage)) fails('EBADF', () => fs.rmdir(parent, 'x'))
    },
  },
  {
    name: 'the device leaves no umask on anything: modes are the guest kernel’s business',
    run({ fs, path, dir }) {
      const created = fs.create(dir, 'created', 0o2, 0o666)
      fs.release(created.nodeid, created.handle)
      chmodSync(`${path}/created`, 0o640)
      assert.equal(created.attr.mode, 0o100666)
      assert.equal(fs.lookup(dir, 'created').attr.mode, 0o100640)
    },
  },
]

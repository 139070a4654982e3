import { strict as assert } from 'node:assert'
import { constants, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { assertAttr, type Case } from '../support/device/cases.js'
import { errorOf, fails } from '../support/fuse/refusals.js'
import { STALE_NODE } from './lookup.js'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_NONBLOCK } = constants
const { O_RDONLY, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY } = constants
const O_PATH = 0o10000000
const O_TMPFILE = 0o20000000 | O_DIRECTORY

const bytes = (text: string) => Uint8Array.from(Buffer.from(text))
const text = (data: Uint8Array) => Buffer.from(data).toString()

export const openingCases: readonly Case[] = [
  {
    name: 'OPEN for reading, writing and both allows just that: EBADF for the other',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, 'text')
      const file = fs.lookup(dir, 'file').nodeid
      for (const [flags, mayRead, mayWrite] of [
        [O_RDONLY, true, false],
        [O_WRONLY, false, true],
        [O_RDWR, true, true],
      ] as const) {
        const { handle } = fs.open(file, flags)
        const read = errorOf(() => fs.read(file, handle, 0, 100))
        const write = errorOf(() => fs.write(file, handle, 0, bytes('text')))
        assert.equal(read, mayRead ? 'no error' : 'EBADF')
        assert.equal(write, mayWrite ? 'no error' : 'EBADF')
        fs.release(file, handle)
      }
    },
  },
  {
    name: 'OPEN with O_TRUNC empties the file (ATOMIC_O_TRUNC)',
    run({ fs, path, dir }) {
      for (const flags of [O_WRONLY | O_TRUNC, O_RDWR | O_TRUNC]) {
        writeFileSync(`${path}/file`, 'text')
        const file = fs.lookup(dir, 'file').nodeid
        const { handle } = fs.open(file, flags)
        assert.equal(readFileSync(`${path}/file`, 'utf8'), '')
        fs.release(file, handle)
      }
    },
  },
  {
    name: 'OPEN gives each open a handle of its own, and a released one is worth nothing',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, 'text')
      const file = fs.lookup(dir, 'file').nodeid
      const one = fs.open(file, O_RDONLY).handle
      const two = fs.open(file, O_RDONLY).handle
      assert.notEqual(one, two)
      fs.release(file, one)
      const three = fs.open(file, O_RDONLY).handle
      assert.notEqual(three, one)
      fails('EBADF', () => fs.read(file, one, 0, 4))
      fails('EBADF', () => fs.release(file, one))
      assert.equal(text(fs.read(file, two, 0, 4)), 'text')
      assert.equal(text(fs.read(file, three, 0, 4)), 'text')
      fs.release(file, two)
      fs.release(file, three)
    },
  },
  {
    name: 'OPEN takes no flag that makes it another system call: O_CREAT, O_EXCL, O_PATH, O_TMPFILE ...',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, 'text')
      const file = fs.lookup(dir, 'file').nodeid
      for (const flag of [
        O_CREAT,
        O_CREAT | O_EXCL,
        O_PATH,
        O_TMPFILE,
        O_DIRECTORY,
        O_NOFOLLOW,
        O_NONBLOCK,
      ]) {
        const { handle } = fs.open(file, O_RDWR | flag)
        assert.equal(text(fs.read(file, handle, 0, 4)), 'text', `${flag}`)
        fs.release(file, handle)
      }
      const { handle } = fs.open(file, O_RDONLY | O_NOATIME | O_SYNC)
      fs.release(file, handle)
    },
  },
  {
    name: 'OPEN of a directory: EISDIR; of a fifo or symbolic link: EBADF; of a node made up: EBADF',
    run({ fs, path, dir }) {
      symlinkSync('/etc/passwd', `${path}/link`)
      const link = fs.lookup(dir, 'link').nodeid
      const fifo = fs.mknod(dir, 'fifo', 0o010666).nodeid
      fails('EISDIR', () => fs.open(dir, O_RDONLY))
      for (const node of [link, fifo, STALE_NODE, 0n, (1n << 64n) - 1n])
        for (const flags of [O_RDONLY, O_WRONLY, O_RDWR, O_RDONLY | O_NONBLOCK])
          fails('EBADF', () => fs.open(node, flags))
    },
  },
  {
    name: 'CREATE makes a file with exactly the mode that was asked for, open for what was asked for',
    run({ fs, path, dir }) {
      for (const mode of [0o644, 0o666, 0o000, 0o400, 0o755]) {
        const made = fs.create(dir, `f${mode}`, O_RDWR, mode)
        assert.equal(made.attr.mode, 0o100000 | mode)
        assert.equal(fs.write(made.nodeid, made.handle, 0, bytes('text')), 4)
        assert.equal(text(fs.read(made.nodeid, made.handle, 0, 9)), 'text')
        assertAttr(fs.getattr(made.nodeid).attr, `${path}/f${mode}`)
        fs.release(made.nodeid, made.handle)
      }
      const written = fs.create(dir, 'w', O_WRONLY)
      fails('EBADF', () => fs.read(written.nodeid, written.handle, 0, 1))
      fs.release(written.nodeid, written.handle)
    },
  },
  {
    name: 'CREATE over a file that is there opens it, as it is; O_TRUNC empties it; O_EXCL: EEXIST',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, 'text', { mode: 0o600 })
      const { nodeid } = fs.lookup(dir, 'file')
      for (const flags of [O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_CREAT]) {
        const opened = fs.create(dir, 'file', flags, 0o777)
        assert.equal(opened.nodeid, nodeid)
        assertAttr(opened.attr, `${path}/file`)
        assert.equal(opened.attr.mode, 0o100600)
        fs.release(nodeid, opened.handle)
      }
      fails('EEXIST', () => fs.create(dir, 'file', O_RDWR | O_EXCL))
      fails('EEXIST', () => fs.create(dir, 'file', O_RDWR | O_EXCL | O_TRUNC | O_CREAT))
      assert.equal(readFileSync(`${path}/file`, 'utf8'), 'text')
      const emptied = fs.create(dir, 'file', O_RDWR | O_TRUNC)
      assert.equal(emptied.attr.size, 0n)
      assert.equal(readFileSync(`${path}/file`, 'utf8'), '')
      fs.release(nodeid, emptied.handle)
    },
  },
  {
    name: 'CREATE over what is no regular file: EISDIR, else ESTALE; the lookup it took is given back',
    run({ fs, path, dir }) {
      mkdirSync(`${path}/sub`)
      symlinkSync('nowhere', `${path}/link`)
      fs.mknod(dir, 'fifo', 0o010666)
      fails('EISDIR', () => fs.create(dir, 'sub', O_RDONLY))
      fails('ESTALE', () => fs.create(dir, 'link', O_RDWR))
      fails('ESTALE', () => fs.create(dir, 'fifo', O_RDWR))
    },
  },
  {
    name: 'CREATE in what is no directory of the guest: EBADF',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, '')
      for (const parent of [STALE_NODE, 0n, fs.lookup(dir, 'file').nodeid])
        fails('EBADF', () => fs.create(parent, 'x', O_RDWR))
    },
  },
  {
    name: 'FLUSH and RELEASE reply with nothing; FSYNC and FSYNCDIR, of data or all, too',
    run({ fs, dir }) {
      const { nodeid, handle } = fs.create(dir, 'file', O_RDWR)
      fs.write(nodeid, handle, 0, bytes('text'))
      fs.flush(nodeid, handle)
      fs.flush(nodeid, handle)
      fs.fsync(nodeid, handle)
      fs.fsync(nodeid, handle, 1)
      fs.release(nodeid, handle)
      const directory = fs.opendir(dir).handle
      fs.fsyncdir(dir, directory)
      fs.fsyncdir(dir, directory, 1)
      fs.releasedir(dir, directory)
    },
  },
  {
    name: 'every operation on a handle that was made up: EBADF',
    run({ fs, dir }) {
      const { nodeid, handle } = fs.create(dir, 'file', O_RDWR)
      fs.release(nodeid, handle)
      const opened = fs.open(nodeid, O_RDWR).handle
      for (const bad of [handle, 0n, 12_345n, opened + (1n << 32n), (1n << 53n) + 1n, (1n << 64n) - 1n]) {
        for (const attempt of [
          () => fs.read(nodeid, bad, 0, 1),
          () => fs.write(nodeid, bad, 0, bytes('x')),
          () => fs.flush(nodeid, bad),
          () => fs.fsync(nodeid, bad),
          () => fs.release(nodeid, bad),
          () => fs.fallocate(nodeid, bad, 0, 1),
          () => fs.lseek(nodeid, bad, 0, 3),
          () => fs.copyFileRange([nodeid, bad, 0], [nodeid, opened, 0], 1),
          () => fs.copyFileRange([nodeid, opened, 0], [nodeid, bad, 0], 1),
          () => fs.readdir(dir, bad, 0),
          () => fs.readdirplus(dir, bad, 0),
          () => fs.fsyncdir(dir, bad),
          () => fs.releasedir(dir, bad),
        ])
          fails('EBADF', attempt, `${attempt} with ${bad}`)
      }
      fs.release(nodeid, opened)
    },
  },
]

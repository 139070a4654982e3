import { strict as assert } from 'node:assert'
import { execFileSync } from 'node:child_process'
import { constants, linkSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { assertAttr, type Case } from '../support/device/cases.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { EMPTY, REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { cstring, u32, u64 } from '../support/fuse/fuse-wire.js'
import { fails } from '../support/fuse/refusals.js'

export const STALE_NODE = 0x7fff_ffffn

export const lookupCases: readonly Case[] = [
  {
    name: 'LOOKUP finds a file: a node id, generation 0, the attributes of the host',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, 'twelve bytes')
      const entry = fs.lookup(dir, 'file')
      assert.ok(entry.nodeid > 1n)
      assert.equal(entry.generation, 0n)
      assertAttr(entry.attr, `${path}/file`)
      assert.equal(fs.lookup(dir, 'file').nodeid, entry.nodeid)
    },
  },
  {
    name: 'LOOKUP does not follow a symbolic link',
    run({ fs, path, dir }) {
      symlinkSync('/etc/passwd', `${path}/link`)
      assertAttr(fs.lookup(dir, 'link').attr, `${path}/link`)
    },
  },
  {
    name: 'LOOKUP finds directories, fifos and sockets as what they are',
    run({ fs, path, dir }) {
      mkdirSync(`${path}/dir`)
      execFileSync('mkfifo', [`${path}/fifo`])
      for (const name of ['dir', 'fifo']) assertAttr(fs.lookup(dir, name).attr, `${path}/${name}`)
    },
  },
  {
    name: 'LOOKUP gives both names of a hard link one node id',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/one`, '')
      linkSync(`${path}/one`, `${path}/two`)
      assert.equal(fs.lookup(dir, 'one').nodeid, fs.lookup(dir, 'two').nodeid)
    },
  },
  {
    name: 'LOOKUP gives a file that took a name another node id, and the old one stays good',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/name`, 'old')
      const old = fs.lookup(dir, 'name').nodeid
      writeFileSync(`${path}/new`, 'newer')
      renameSync(`${path}/new`, `${path}/name`)
      assert.notEqual(fs.lookup(dir, 'name').nodeid, old)
      assert.equal(fs.getattr(old).attr.size, 3n)
      assert.equal(fs.getattr(old).attr.nlink, 0)
    },
  },
  {
    name: 'LOOKUP of what is not there: ENOENT, and nothing is granted',
    run({ fs, dir }) {
      fails('ENOENT', () => fs.lookup(dir, 'missing'))
    },
  },
  {
    name: 'LOOKUP in a file, in a node that was made up, and in node 0: EBADF',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, '')
      const file = fs.lookup(dir, 'file').nodeid
      for (const parent of [file, STALE_NODE, 0n, 1n << 32n, (1n << 53n) + 1n, (1n << 64n) - 1n]) {
        fails('EBADF', () => fs.lookup(parent, 'x'), `${parent}`)
      }
    },
  },
  {
    name: 'names of 255 bytes work, of 256 and 300 are ENAMETOOLONG, for every operation that takes one',
    run({ fs, path, dir }) {
      const longest = 'n'.repeat(255)
      writeFileSync(`${path}/${longest}`, 'x')
      const { nodeid } = fs.lookup(dir, longest)
      fs.rename(dir, longest, dir, 'short')
      fs.rename2(dir, 'short', dir, longest, 0)
      assert.equal(fs.lookup(dir, longest).nodeid, nodeid)
      fs.unlink(dir, longest)
      fs.mkdir(dir, longest)
      fs.rmdir(dir, longest)
      for (const lenBytes of [256, 300]) {
        const name = 'n'.repeat(lenBytes)
        const attempts = [
          () => fs.lookup(dir, name),
          () => fs.unlink(dir, name),
          () => fs.rmdir(dir, name),
          () => fs.mkdir(dir, name),
          () => fs.mknod(dir, name, 0o100644),
          () => fs.symlink(dir, name, 'target'),
          () => fs.link(nodeid, dir, name),
          () => fs.create(dir, name, 0),
          () => fs.rename(dir, name, dir, 'other'),
          () => fs.rename(dir, 'other', dir, name),
          () => fs.rename2(dir, name, dir, 'other', 0),
          () => fs.rename2(dir, 'other', dir, name, 0),
        ]
        for (const attempt of attempts) fails('ENAMETOOLONG', attempt, attempt.toString())
      }
    },
  },
  {
    name: 'a name is bytes, not text: one that is no UTF-8 works',
    run({ fs, dir }) {
      const name = Uint8Array.of(0xff, 0x80, 0x2e, 0xc3, 0x0a, 0x20)
      const made = fs.mkdir(dir, name)
      assert.equal(fs.lookup(dir, name).nodeid, made.nodeid)
      fs.rmdir(dir, name)
    },
  },
  {
    name: 'FORGET gives lookups back one by one; the last one makes the node id worthless',
    run({ fs, path, dir, device }) {
      writeFileSync(`${path}/file`, '')
      const held = device.fdCount()
      const { nodeid } = fs.lookup(dir, 'file')
      fs.lookup(dir, 'file')
      fs.lookup(dir, 'file')
      fs.forget(nodeid, 2)
      assert.equal(fs.getattr(nodeid).attr.size, 0n)
      assert.equal(device.fdCount(), held + 1)
      fs.forget(nodeid, 1)
      fails('EBADF', () => fs.getattr(nodeid))
      assert.equal(device.fdCount(), held)
      assert.notEqual(fs.lookup(dir, 'file').nodeid, nodeid)
    },
  },
  {
    name: 'FORGET of more than was granted, even of 2^64 - 1, is FORGET of all',
    run({ fs, path, dir }) {
      for (const count of [2n, 1n << 53n, (1n << 63n) + 1n, (1n << 64n) - 1n]) {
        writeFileSync(`${path}/file`, '')
        const { nodeid } = fs.lookup(dir, 'file')
        fs.forget(nodeid, count)
        fails('EBADF', () => fs.getattr(nodeid))
      }
    },
  },
  {
    name: 'FORGET of nothing, of the root, and of nodes that were made up changes nothing',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, '')
      const { nodeid } = fs.lookup(dir, 'file')
      const known = fs.lookups.get(nodeid)
      fs.forget(nodeid, 0)
      for (const unknown of [ROOT_ID, 0n, STALE_NODE, nodeid + (1n << 32n), (1n << 64n) - 1n]) {
        fs.forget(unknown, 1)
        fs.forget(unknown, (1n << 64n) - 1n)
      }
      assert.equal(known, 1n)
      fs.getattr(nodeid)
      fs.getattr(ROOT_ID)
    },
  },
  {
    name: 'FORGET on a request queue, and with room for a reply, has no reply',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, '')
      for (const opcode of [Op.FORGET, Op.BATCH_FORGET]) {
        const { nodeid } = fs.lookup(dir, 'file')
        const args =
          opcode === Op.FORGET ? u64(1) : Uint8Array.from([...u32(1, 0), ...u64(nodeid), ...u64(1)])
        fs.call({ opcode, nodeid, args, reply: 'none' }, REQUEST_QUEUE)
        fails('EBADF', () => fs.getattr(nodeid))
        const call = fs.start({ opcode, nodeid, args, reply: EMPTY }, REQUEST_QUEUE)
        assert.throws(() => fs.finish(REQUEST_QUEUE), /too short \(0\)/)
        assert.equal(call.reply, undefined)
      }
      fs.lookups.clear()
      fs.lookups.set(dir, 1n)
    },
  },
  {
    name: 'BATCH_FORGET gives back each of its items, and no more than there are',
    run({ fs, path, dir }) {
      const names = ['a', 'b', 'c']
      for (const name of names) writeFileSync(`${path}/${name}`, '')
      const [a, b, c] = names.map((name) => fs.lookup(dir, name).nodeid)
      fs.lookup(dir, 'c')
      fs.batchForget([
        [a, 1],
        [STALE_NODE, 7],
        [b, (1n << 64n) - 1n],
        [c, 1],
      ])
      for (const gone of [a, b]) fails('EBADF', () => fs.getattr(gone))
      fs.getattr(c)
      fs.batchForget([])
      // A count of groups that is higher than the number in the request.
      const args = Uint8Array.from([...u32(0xffff_ffff, 0), ...u64(c, 1)])
      fs.call({ opcode: Op.BATCH_FORGET, nodeid: 0, args, reply: 'none' })
      fails('EBADF', () => fs.getattr(c))
      fs.lookups.delete(c)
    },
  },
  {
    name: 'a directory that is gone from the host has attributes; names in it have to be looked up again by their path',
    run({ fs, path, dir }) {
      mkdirSync(`${path}/sub`)
      const { nodeid } = fs.lookup(dir, 'sub')
      rmSync(`${path}/sub`, { recursive: true })
      fails('ESTALE', () => fs.lookup(nodeid, 'x'))
      fails('ESTALE', () => fs.create(nodeid, 'x', constants.O_RDWR))
      fails('ESTALE', () => fs.mkdir(nodeid, 'x'))
      fails('ESTALE', () => fs.mknod(nodeid, 'x', 0o100644))
      fails('ESTALE', () => fs.mknod(nodeid, 'x', 0o010644))
      fails('ESTALE', () => fs.symlink(nodeid, 'x', 'target'))
      fails('ESTALE', () => fs.unlink(nodeid, 'x'))
      fails('ESTALE', () => fs.rmdir(nodeid, 'x'))
      assert.equal(fs.getattr(nodeid).attr.nlink, 0)
    },
  },
  {
    name: 'a name ends the request: EINVAL when more stands behind its NUL',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, '')
      const args = Uint8Array.from([...cstring('file'), ...cstring('rest')])
      const { error } = fs.call({ opcode: Op.LOOKUP, nodeid: dir, args, reply: { argBytes: 128 } })
      assert.equal(error, 22)
    },
  },
]

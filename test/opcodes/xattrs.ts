import { strict as assert } from 'node:assert'
import { execFileSync } from 'node:child_process'
import { constants as os } from 'node:os'
import type { Case, Stage } from '../support/device/cases.js'
import { Op } from '../support/fuse/fuse-abi.js'
import { EMPTY } from '../support/fuse/fuse-client.js'
import { concat, cstring, u32 } from '../support/fuse/fuse-wire.js'
import {
  getxattr,
  getxattrSize,
  listxattr,
  listxattrSize,
  removexattr,
  setxattr,
} from '../support/fuse/posix-calls.js'
import { errorOf, fails } from '../support/fuse/refusals.js'
import { pattern } from '../support/pattern.js'
import { STALE_NODE } from './lookup.js'

const XATTR_CREATE = 1
const XATTR_REPLACE = 2
const text = (value: string) => Uint8Array.from(Buffer.from(value))

/** One of each kind that has attributes of its own. */
function oneOfEach({ fs, path, dir }: Stage): Record<string, bigint> {
  execFileSync('mkfifo', [`${path}/fifo`])
  return {
    file: fs.mknod(dir, 'file', 0o100644).nodeid,
    directory: fs.mkdir(dir, 'directory').nodeid,
    link: fs.symlink(dir, 'link', 'nowhere').nodeid,
    fifo: fs.lookup(dir, 'fifo').nodeid,
  }
}

export const xattrCases: readonly Case[] = [
  {
    name: 'SETXATTR, GETXATTR, LISTXATTR and REMOVEXATTR of a file and a directory',
    run(stage) {
      const { fs } = stage
      const { file, directory } = oneOfEach(stage)
      for (const node of [file, directory]) {
        setxattr(fs, node, 'user.one', text('eins'))
        setxattr(fs, node, 'user.two', text(''))
        assert.deepEqual(getxattr(fs, node, 'user.one'), text('eins'))
        assert.deepEqual(getxattr(fs, node, 'user.two'), text(''))
        assert.equal(getxattrSize(fs, node, 'user.one'), 4)
        assert.deepEqual(listxattr(fs, node).sort(), ['user.one', 'user.two'])
        assert.equal(listxattrSize(fs, node), 18)
        removexattr(fs, node, 'user.one')
        assert.deepEqual(listxattr(fs, node), ['user.two'])
        fails('ENODATA', () => getxattr(fs, node, 'user.one'))
        fails('ENODATA', () => getxattrSize(fs, node, 'user.one'))
        fails('ENODATA', () => removexattr(fs, node, 'user.one'))
      }
    },
  },
  {
    name: 'xattrs of links and fifos are their own, and nothing is opened for them',
    needsRoot: 'trusted attributes',
    run(stage) {
      const { fs } = stage
      const nodes = oneOfEach(stage)
      // Without CAP_SYS_ADMIN, as in a sandbox, these have no attributes that can be set.
      if (errorOf(() => setxattr(fs, nodes['file'], 'trusted.x', text('x'))) === 'EPERM') {
        for (const node of Object.values(nodes)) assert.deepEqual(listxattr(fs, node), [])
        return
      }
      removexattr(fs, nodes['file'], 'trusted.x')
      for (const [kind, node] of Object.entries(nodes)) {
        setxattr(fs, node, 'trusted.kind', text(kind))
        assert.deepEqual(getxattr(fs, node, 'trusted.kind'), text(kind))
        assert.deepEqual(listxattr(fs, node), ['trusted.kind'])
        removexattr(fs, node, 'trusted.kind')
        assert.deepEqual(listxattr(fs, node), [])
      }
      for (const kind of ['link', 'fifo'])
        fails('EPERM', () => setxattr(fs, nodes[kind], 'user.x', text('x')))
    },
  },
  {
    name: 'SETXATTR with XATTR_CREATE and XATTR_REPLACE: EEXIST, ENODATA; other flags: EINVAL',
    run(stage) {
      const { fs } = stage
      const { file } = oneOfEach(stage)
      fails('ENODATA', () => setxattr(fs, file, 'user.a', text('1'), XATTR_REPLACE))
      setxattr(fs, file, 'user.a', text('2'), XATTR_CREATE)
      fails('EEXIST', () => setxattr(fs, file, 'user.a', text('3'), XATTR_CREATE))
      setxattr(fs, file, 'user.a', text('4'), XATTR_REPLACE)
      assert.deepEqual(getxattr(fs, file, 'user.a'), text('4'))
      fails('EINVAL', () => setxattr(fs, file, 'user.a', text('5'), 0x8000_0000))
    },
  },
  {
    name: 'a value of any bytes and a name of any bytes pass; ERANGE when there is no room',
    run(stage) {
      const { fs } = stage
      const { file } = oneOfEach(stage)
      const value = pattern(1000, 3)
      const name = Buffer.concat([Buffer.from('user.'), Buffer.from([0xff, 0x2f, 0x80, 0x3a])])
      setxattr(fs, file, name, value)
      assert.deepEqual(getxattr(fs, file, name), value)
      assert.deepEqual(getxattr(fs, file, name, 1000), value)
      fails('ERANGE', () => getxattr(fs, file, name, 999))
      fails('ERANGE', () => listxattr(fs, file, 5))
      assert.deepEqual(listxattr(fs, file, 10), [name.toString('latin1')])
    },
  },
  {
    name: 'xattrs of a node that was made up: EBADF; of an unlinked file: they work',
    run(stage) {
      const { fs, dir } = stage
      const { file } = oneOfEach(stage)
      for (const attempt of [
        () => setxattr(fs, STALE_NODE, 'user.a', text('1')),
        () => getxattr(fs, STALE_NODE, 'user.a'),
        () => listxattr(fs, STALE_NODE),
        () => removexattr(fs, STALE_NODE, 'user.a'),
      ])
        fails('EBADF', attempt)
      fs.unlink(dir, 'file')
      setxattr(fs, file, 'user.a', text('1'))
      assert.deepEqual(getxattr(fs, file, 'user.a'), text('1'))
      assert.deepEqual(listxattr(fs, file), ['user.a'])
      removexattr(fs, file, 'user.a')
    },
  },
  {
    name: 'POSIX ACLs are refused and not listed as long as the guest’s kernel does not check them',
    run(stage) {
      const { fs, path } = stage
      const { file } = oneOfEach(stage)
      for (const name of ['system.posix_acl_access', 'system.posix_acl_default']) {
        const codes = [
          errorOf(() => setxattr(fs, file, name, pattern(28, 1))),
          errorOf(() => getxattr(fs, file, name)),
          errorOf(() => removexattr(fs, file, name)),
        ]
        for (const code of codes) assert.ok(code === 'EOPNOTSUPP' || code === 'ENOTSUP', `${name} ${code}`)
      }
      assert.ok(path !== '')
    },
  },
  {
    name: 'hostile xattr requests: no NUL, no name, a name too long, a size beyond what came along, bytes too many',
    run(stage) {
      const { fs } = stage
      const { file } = oneOfEach(stage)
      const error = (opcode: number, args: Uint8Array, dataBytes = 64) =>
        fs.call({ opcode, nodeid: file, args, reply: { argBytes: 0, dataBytes } }).error
      const head = u32(4, 0)
      const { EINVAL, ERANGE } = os.errno
      assert.equal(error(Op.GETXATTR, concat(head, text('user.a'))), EINVAL, 'no NUL')
      assert.equal(error(Op.GETXATTR, head), EINVAL, 'no name')
      assert.equal(error(Op.GETXATTR, concat(head, cstring(''))), EINVAL, 'an empty name')
      assert.equal(error(Op.GETXATTR, concat(head, cstring('user.a'), text('x'))), EINVAL, 'bytes behind it')
      assert.equal(error(Op.GETXATTR, u32(4)), EINVAL, 'too short')
      assert.equal(error(Op.LISTXATTR, u32(4)), EINVAL, 'too short')
      assert.equal(error(Op.REMOVEXATTR, text('user.a')), EINVAL, 'no NUL')
      assert.equal(error(Op.GETXATTR, concat(head, cstring(`user.${'n'.repeat(251)}`))), ERANGE, 'long name')
      assert.equal(error(Op.SETXATTR, concat(u32(5, 0), cstring('user.a'), text('1234'))), EINVAL)
      assert.equal(error(Op.SETXATTR, concat(u32(0xffff_ffff, 0), cstring('user.a'), text('1234'))), EINVAL)
      assert.equal(error(Op.SETXATTR, concat(head, text('user.a'))), EINVAL, 'no NUL')
      const tooLarge = concat(u32(65_537, 0), cstring('user.a'), new Uint8Array(65_537))
      assert.equal(error(Op.SETXATTR, tooLarge), os.errno.E2BIG)
      assert.deepEqual(listxattr(fs, file), [], 'nothing was set')
      // A huge size asks for the value, not for that much memory.
      setxattr(fs, file, 'user.a', text('1'))
      const all = concat(u32(0xffff_ffff, 0), cstring('user.a'))
      const reply = fs.call({
        opcode: Op.GETXATTR,
        nodeid: file,
        args: all,
        reply: { argBytes: 0, dataBytes: 64 },
      })
      assert.deepEqual(reply.body, text('1'))
      assert.equal(
        fs.call({ opcode: Op.GETXATTR, nodeid: file, args: all, reply: EMPTY }).error,
        EINVAL,
        'no room for what is there',
      )
    },
  },
]

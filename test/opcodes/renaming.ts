import { strict as assert } from 'node:assert'
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import type { Case, Stage } from '../support/device/cases.js'
import { RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { errorOf, fails } from '../support/fuse/refusals.js'
import { STALE_NODE } from './lookup.js'

type Rename = (fs: FuseGuest, from: bigint, name: string, to: bigint, newName: string) => void

/** The old opcode, and the new one without flags, do the same. */
const opcodes: readonly (readonly [string, Rename])[] = [
  ['RENAME', (fs, from, name, to, newName) => fs.rename(from, name, to, newName)],
  ['RENAME2', (fs, from, name, to, newName) => fs.rename2(from, name, to, newName, 0)],
]

function both(name: string, run: (stage: Stage, rename: Rename) => void): Case[] {
  return opcodes.map(([opcode, rename]) => ({
    name: `${opcode} ${name}`,
    run: (stage) => run(stage, rename),
  }))
}

export const renamingCases: readonly Case[] = [
  ...both(
    'moves a file within a directory and to another; its node id stays',
    ({ fs, path, dir }, rename) => {
      writeFileSync(`${path}/a`, 'text')
      const { nodeid } = fs.lookup(dir, 'a')
      const sub = fs.mkdir(dir, 'sub').nodeid
      rename(fs, dir, 'a', dir, 'b')
      rename(fs, dir, 'b', sub, 'c')
      assert.equal(readFileSync(`${path}/sub/c`, 'utf8'), 'text')
      assert.equal(fs.lookup(sub, 'c').nodeid, nodeid)
      fails('ENOENT', () => fs.lookup(dir, 'a'))
    },
  ),
  ...both('replaces a file; the one replaced stays good by its node id', ({ fs, path, dir }, rename) => {
    writeFileSync(`${path}/a`, 'new')
    writeFileSync(`${path}/b`, 'older')
    const old = fs.lookup(dir, 'b').nodeid
    rename(fs, dir, 'a', dir, 'b')
    assert.equal(readFileSync(`${path}/b`, 'utf8'), 'new')
    assert.equal(fs.getattr(old).attr.size, 5n)
    assert.deepEqual(readdirSync(path), ['b'])
  }),
  ...both('moves a directory over an empty one', ({ fs, path, dir }, rename) => {
    mkdirSync(`${path}/a/inside`, { recursive: true })
    mkdirSync(`${path}/b`)
    rename(fs, dir, 'a', dir, 'b')
    assert.deepEqual(readdirSync(`${path}/b`), ['inside'])
  }),
  ...both('gives the errors of the host', ({ fs, path, dir }, rename) => {
    mkdirSync(`${path}/full/x`, { recursive: true })
    mkdirSync(`${path}/empty`)
    writeFileSync(`${path}/file`, '')
    const sub = fs.lookup(dir, 'full').nodeid
    const error = (name: string, to: bigint, newName: string) =>
      errorOf(() => rename(fs, dir, name, to, newName))
    assert.equal(error('missing', dir, 'x'), 'ENOENT')
    assert.equal(error('empty', dir, 'full'), 'ENOTEMPTY')
    assert.equal(error('file', dir, 'empty'), 'EISDIR')
    assert.equal(error('empty', dir, 'file'), 'ENOTDIR')
    assert.equal(error('full', sub, 'inside itself'), 'EINVAL')
  }),
  ...both('from or to what is no directory of the guest: EBADF', ({ fs, path, dir }, rename) => {
    writeFileSync(`${path}/file`, '')
    const file = fs.lookup(dir, 'file').nodeid
    for (const other of [STALE_NODE, 0n, file, (1n << 64n) - 1n]) {
      fails('EBADF', () => rename(fs, other, 'file', dir, 'x'))
      fails('EBADF', () => rename(fs, dir, 'file', other, 'x'))
    }
    assert.deepEqual(readdirSync(path), ['file'])
  }),
  {
    name: 'RENAME2 with NOREPLACE keeps what is there: EEXIST',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/a`, 'a')
      writeFileSync(`${path}/b`, 'b')
      fails('EEXIST', () => fs.rename2(dir, 'a', dir, 'b', RENAME_NOREPLACE))
      fs.rename2(dir, 'a', dir, 'c', RENAME_NOREPLACE)
      assert.deepEqual(readdirSync(path).sort(), ['b', 'c'])
    },
  },
  {
    name: 'RENAME2 with EXCHANGE swaps two names, also of a file and a directory',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/a`, 'a')
      mkdirSync(`${path}/b`)
      const [a, b] = [fs.lookup(dir, 'a').nodeid, fs.lookup(dir, 'b').nodeid]
      fs.rename2(dir, 'a', dir, 'b', RENAME_EXCHANGE)
      assert.equal(fs.lookup(dir, 'a').nodeid, b)
      assert.equal(fs.lookup(dir, 'b').nodeid, a)
      fails('ENOENT', () => fs.rename2(dir, 'a', dir, 'missing', RENAME_EXCHANGE))
    },
  },
  {
    name: 'RENAME2 with WHITEOUT leaves a whiteout behind',
    needsRoot: 'a whiteout is a device node',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/a`, 'a')
      fs.rename2(dir, 'a', dir, 'b', RENAME_WHITEOUT)
      const whiteout = lstatSync(`${path}/a`)
      assert.ok(whiteout.isCharacterDevice())
      assert.equal(whiteout.rdev, 0)
    },
  },
  {
    name: 'RENAME2 with flags that Linux does not have, or that exclude each other: EINVAL',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/a`, 'a')
      for (const flags of [8, 0x8000_0000, 0xffff_fff8, RENAME_NOREPLACE | RENAME_EXCHANGE]) {
        fails('EINVAL', () => fs.rename2(dir, 'a', dir, 'b', flags), `${flags}`)
      }
      assert.deepEqual(readdirSync(path), ['a'])
    },
  },
]

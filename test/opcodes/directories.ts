import { strict as assert } from 'node:assert'
import { lstatSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { assertAttr, type Case, type Stage } from '../support/device/cases.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import type { Dirent } from '../support/fuse/fuse-wire.js'
import { fails } from '../support/fuse/refusals.js'
import { STALE_NODE } from './lookup.js'

const DT_FIFO = 1
const DT_DIR = 4
const DT_REG = 8
const DT_LNK = 10

export type List = (
  fs: FuseGuest,
  dir: bigint,
  handle: bigint,
  offset: bigint,
  roomBytes?: number,
) => Dirent[]

/** Both ways to list: the opcode's name, the operation, and bytes of an entry before its dirent. */
export const listers: readonly (readonly [string, List, number])[] = [
  ['READDIR', (fs, dir, handle, offset, room) => fs.readdir(dir, handle, offset, room), 0],
  ['READDIRPLUS', (fs, dir, handle, offset, room) => fs.readdirplus(dir, handle, offset, room), 128],
]

function both(name: string, run: (stage: Stage, list: List, entryBytes: number) => void): Case[] {
  return listers.map(([opcode, list, entryBytes]) => ({
    name: `${opcode} ${name}`,
    run: (stage) => run(stage, list, entryBytes),
  }))
}

/** Everything from the beginning, as `ls` reads it, with `roomBytes` for each reply. */
export function listAll(
  fs: FuseGuest,
  dir: bigint,
  handle: bigint,
  list: List,
  roomBytes: number,
  from = 0n,
): Dirent[] {
  const all: Dirent[] = []
  for (let offset = from; ; offset = all.at(-1)?.off ?? offset) {
    const some = list(fs, dir, handle, offset, roomBytes)
    if (some.length === 0) return all
    all.push(...some)
  }
}

function withDirectory(stage: Stage, work: (handle: bigint) => void): void {
  const { handle } = stage.fs.opendir(stage.dir)
  work(handle)
  stage.fs.releasedir(stage.dir, handle)
}

export const directoryCases: readonly Case[] = [
  ...both('lists every entry once, with its type and inode number', (stage, list) => {
    const { fs, path, dir } = stage
    writeFileSync(`${path}/file`, '')
    mkdirSync(`${path}/sub`)
    symlinkSync('x', `${path}/link`)
    fs.mknod(dir, 'fifo', 0o010644)
    fs.mknod(dir, 'n'.repeat(255), 0o100644)
    withDirectory(stage, (handle) => {
      const dirents = listAll(fs, dir, handle, list, 4096)
      const types = new Map(dirents.map(({ name, type }) => [name, type]))
      assert.deepEqual(
        types,
        new Map(
          dirents.map(({ name }) => [
            name,
            { file: DT_REG, link: DT_LNK, fifo: DT_FIFO }[name] ?? (name.length > 200 ? DT_REG : DT_DIR),
          ]),
        ),
      )
      assert.deepEqual([...types.keys()].sort(), ['.', '..', 'fifo', 'file', 'link', 'n'.repeat(255), 'sub'])
      for (const { name, ino } of dirents)
        assert.equal(ino, lstatSync(`${path}/${name}`, { bigint: true }).ino)
    })
  }),
  ...both('of an empty directory gives "." and "..", then nothing, again and again', (stage, list) => {
    const { fs, dir } = stage
    withDirectory(stage, (handle) => {
      const dirents = list(fs, dir, handle, 0n)
      assert.deepEqual(dirents.map(({ name }) => name).sort(), ['.', '..'])
      const end = dirents[1].off
      assert.deepEqual(list(fs, dir, handle, end), [])
      assert.deepEqual(list(fs, dir, handle, end), [])
    })
  }),
  ...both('shows nothing of what lies above the share', (stage, list) => {
    const { fs, device } = stage
    const { handle } = fs.opendir(ROOT_ID)
    const dirents = listAll(fs, ROOT_ID, handle, list, 4096)
    const { ino } = lstatSync(device.directory, { bigint: true })
    for (const name of ['.', '..']) assert.equal(dirents.find((dirent) => dirent.name === name)?.ino, ino)
    fs.releasedir(ROOT_ID, handle)
  }),
  ...both('reads on where it stopped, in replies with room for one entry', (stage, list, entryBytes) => {
    const { fs, path, dir } = stage
    const names = Array.from({ length: 40 }, (_, n) => `entry-${n}`)
    for (const name of names) writeFileSync(`${path}/${name}`, name)
    withDirectory(stage, (handle) => {
      for (const roomBytes of [entryBytes + 32, entryBytes + 40, 3 * entryBytes + 100, 65_536]) {
        const listed = listAll(fs, dir, handle, list, roomBytes).map(({ name }) => name)
        assert.deepEqual(listed.sort(), ['.', '..', ...names].sort(), `room for ${roomBytes}`)
      }
    })
  }),
  ...both('with no room for the next entry: EINVAL, not an end that is none', (stage, list, entryBytes) => {
    const { fs, path, dir } = stage
    writeFileSync(`${path}/${'n'.repeat(100)}`, '')
    withDirectory(stage, (handle) => {
      for (const roomBytes of [0, 1, 24, entryBytes + 24])
        fails('EINVAL', () => list(fs, dir, handle, 0n, roomBytes))
      const inSmall = () => listAll(fs, dir, handle, list, entryBytes + 32)
      fails('EINVAL', inSmall)
      assert.equal(listAll(fs, dir, handle, list, 4096).length, 3)
    })
  }),
  ...both('goes back to any position that it gave, and to the beginning', (stage, list) => {
    const { fs, path, dir } = stage
    for (let n = 0; n < 60; n++) writeFileSync(`${path}/entry-${n}`, '')
    withDirectory(stage, (handle) => {
      const first = listAll(fs, dir, handle, list, 1024)
      for (const n of [57, 3, 30, 0, 61, 31]) {
        const rest = listAll(fs, dir, handle, list, 2048, first[n].off)
        assert.deepEqual(
          rest.map(({ name }) => name),
          first.slice(n + 1).map(({ name }) => name),
          `from entry ${n}`,
        )
      }
      assert.deepEqual(
        listAll(fs, dir, handle, list, 8192).map(({ off }) => off),
        first.map(({ off }) => off),
      )
    })
  }),
  ...both('sees what came and went since, after rewinddir', (stage, list) => {
    const { fs, path, dir } = stage
    writeFileSync(`${path}/old`, '')
    withDirectory(stage, (handle) => {
      const names = () => listAll(fs, dir, handle, list, 4096).map(({ name }) => name)
      assert.deepEqual(names().sort(), ['.', '..', 'old'])
      rmSync(`${path}/old`)
      writeFileSync(`${path}/new`, '')
      assert.deepEqual(names().sort(), ['.', '..', 'new'])
    })
  }),
  ...both('of two handles on one directory keeps two positions', (stage, list) => {
    const { fs, path, dir } = stage
    for (let n = 0; n < 30; n++) writeFileSync(`${path}/entry-${n}`, '')
    withDirectory(stage, (one) =>
      withDirectory(stage, (two) => {
        const first = list(fs, dir, one, 0n, 512)
        const all = listAll(fs, dir, two, list, 4096)
        const rest = listAll(fs, dir, one, list, 512, first.at(-1)?.off)
        assert.deepEqual(
          [...first, ...rest].map(({ name }) => name).sort(),
          all.map(({ name }) => name).sort(),
        )
      }),
    )
  }),
  ...both('of a directory removed meanwhile: ENOENT, as on the host', (stage, list) => {
    const { fs, path, dir } = stage
    mkdirSync(`${path}/sub`)
    const sub = fs.lookup(dir, 'sub').nodeid
    const { handle } = fs.opendir(sub)
    rmSync(`${path}/sub`, { recursive: true })
    fails('ENOENT', () => list(fs, sub, handle, 0n))
    fs.releasedir(sub, handle)
  }),
  ...both('of a node that was made up: EBADF', (stage, list) => {
    withDirectory(stage, (handle) => {
      for (const node of [STALE_NODE, 0n, (1n << 64n) - 1n])
        fails('EBADF', () => list(stage.fs, node, handle, 0n))
    })
  }),
  {
    name: 'READDIRPLUS grants a lookup for each child, none for "." and "..", none for what did not fit',
    run(stage) {
      const { fs, path, dir } = stage
      for (let n = 0; n < 20; n++) writeFileSync(`${path}/entry-${n}`, `${n}`)
      const known = fs.lookup(dir, 'entry-7').nodeid
      withDirectory(stage, (handle) => {
        const dirents = listAll(fs, dir, handle, (...args) => listers[1][1](...args), 700)
        assert.equal(dirents.length, 22)
        for (const { name, entry, ino } of dirents) {
          if (name === '.' || name === '..') {
            assert.equal(entry?.nodeid, 0n)
            assert.equal(entry?.attr.mode, 0)
            continue
          }
          assert.ok(entry !== undefined && entry.nodeid > 1n)
          assert.equal(entry.generation, 0n)
          assert.equal(entry.attr.ino, ino)
          assertAttr(entry.attr, `${path}/${name}`)
        }
        assert.equal(fs.lookups.get(known), 2n)
      })
    },
  },
  {
    name: 'READDIRPLUS lists a child that cannot be looked up by its name alone, and goes on',
    run(stage) {
      const { fs, path, dir } = stage
      for (let n = 0; n < 20; n++) writeFileSync(`${path}/entry-${n}`, '')
      withDirectory(stage, (handle) => {
        // The device has read more entries than fitted into its reply: these are removed before it looks them up.
        const first = fs.readdirplus(dir, handle, 0, 400)
        for (let n = 0; n < 20; n++) rmSync(`${path}/entry-${n}`)
        const rest = listAll(fs, dir, handle, listers[1][1], 4096, first.at(-1)?.off)
        const gone = rest.filter(({ name }) => name.startsWith('entry-'))
        assert.ok(gone.length > 0)
        for (const { entry } of gone) assert.deepEqual([entry?.nodeid, entry?.attr.mode], [0n, 0])
      })
    },
  },
  {
    name: 'OPENDIR of a file: ENOTDIR; of a node that was made up: EBADF',
    run({ fs, path, dir }) {
      writeFileSync(`${path}/file`, '')
      const file = fs.lookup(dir, 'file').nodeid
      fails('ENOTDIR', () => fs.opendir(file))
      for (const node of [STALE_NODE, 0n]) fails('EBADF', () => fs.opendir(node))
    },
  },
]

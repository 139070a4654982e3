import { strict as assert } from 'node:assert'
import { chmodSync, chownSync, constants, statSync, writeFileSync } from 'node:fs'
import type { Case, Stage } from '../support/device/cases.js'
import { OPEN_KILL_SUIDGID, WRITE_KILL_SUIDGID } from '../support/fuse/fuse-abi.js'

const { O_RDWR, O_TRUNC } = constants
const user = { uid: 1000, gid: 1000 }
/** FUSE_INVALID_UIDGID */
const unknown = { uid: 0xffff_ffff, gid: 0xffff_ffff }

/** A file with all bits that a change of contents may take, of group `gid`; what is left of them after `change`. */
function modeAfter(
  { fs, path, dir }: Stage,
  mode: number,
  gid: number,
  change: (file: bigint, handle: bigint) => void,
): number {
  writeFileSync(`${path}/file`, 'text')
  chownSync(`${path}/file`, 0, gid)
  chmodSync(`${path}/file`, mode)
  const { nodeid } = fs.lookup(dir, 'file')
  const { handle } = fs.open(nodeid, O_RDWR)
  fs.as(user, () => change(nodeid, handle))
  fs.release(nodeid, handle)
  return statSync(`${path}/file`).mode & 0o7777
}

export const privilegeCases: readonly Case[] = [
  {
    name: 'killpriv-v2: set-user-id and set-group-id bits go with WRITE, truncation and O_TRUNC that say so',
    needsRoot: 'files of other groups',
    run(stage) {
      const { fs, dir } = stage
      const byte = Uint8Array.of(1)
      const changes: Record<string, (file: bigint, handle: bigint) => void> = {
        WRITE: (file, handle) => fs.write(file, handle, 0, byte, 0, WRITE_KILL_SUIDGID),
        'SETATTR of a size': (file) => fs.setattr(file, { size: 1, kill: true }),
        'SETATTR by handle': (file, handle) => fs.setattr(file, { size: 1, kill: true, handle }),
        OPEN(file) {
          fs.release(file, fs.open(file, O_RDWR | O_TRUNC, OPEN_KILL_SUIDGID).handle)
        },
        CREATE() {
          const { nodeid, handle } = fs.create(dir, 'file', O_RDWR | O_TRUNC, 0, 0, OPEN_KILL_SUIDGID)
          fs.release(nodeid, handle)
        },
        FALLOCATE: (file, handle) => fs.fallocate(file, handle, 0, 100),
        COPY_FILE_RANGE: (file, handle) => fs.copyFileRange([file, handle, 0], [file, handle, 100], 1),
      }
      for (const [name, change] of Object.entries(changes)) {
        assert.equal(modeAfter(stage, 0o6777, 0, change), 0o0777, name)
        assert.equal(
          modeAfter(stage, 0o6767, user.gid, change),
          0o2767,
          `${name}: a member keeps mandatory locking`,
        )
        assert.equal(modeAfter(stage, 0o6767, 0, change), 0o0767, `${name}: others do not`)
        assert.equal(modeAfter(stage, 0o0777, 0, change), 0o0777, name)
      }
    },
  },
  {
    name: 'killpriv-v2 from a guest that maps ids: a SETATTR of nothing takes the bits for a caller without a name',
    needsRoot: 'files of other groups',
    run(stage) {
      const { fs } = stage
      const after = (mode: number, change: (file: bigint, handle: bigint) => void) =>
        modeAfter(stage, mode, 0, (file, handle) => fs.as(unknown, () => change(file, handle)))
      const nothing = (file: bigint) => fs.setattr(file, {})
      assert.equal(after(0o6777, nothing), 0o0777)
      assert.equal(
        after(0o6767, nothing),
        0o2767,
        'a bit that means nothing, for a caller that may be a member',
      )
      const changes = (file: bigint, handle: bigint) => {
        fs.fallocate(file, handle, 0, 100)
        fs.copyFileRange([file, handle, 0], [file, handle, 100], 1)
      }
      assert.equal(after(0o6777, changes), 0o6777, 'a caller that may keep them')
      assert.equal(after(0o6767, changes), 0o6767, 'a caller that may keep them')
      assert.equal(after(0o2777, changes), 0o2777, 'a caller that may keep it')
      assert.equal(after(0o2767, changes), 0o0767, 'left over from a SETATTR of nothing')
      const write = (file: bigint, handle: bigint) =>
        fs.write(file, handle, 0, Uint8Array.of(1), 0, WRITE_KILL_SUIDGID)
      assert.equal(after(0o6777, write), 0o0777)
      assert.equal(after(0o6767, write), 0o2767, 'the same')
      const { path } = stage
      chmodSync(path, 0o2755)
      nothing(stage.dir)
      assert.equal(statSync(path).mode & 0o7777, 0o2755, 'a directory keeps its bit')
    },
  },
  {
    name: 'killpriv-v2: without being told the bits stay, for a caller that may keep them',
    run(stage) {
      const { fs } = stage
      const byte = Uint8Array.of(1)
      assert.equal(
        modeAfter(stage, 0o6777, process.getgid?.() ?? 0, (file, handle) => {
          fs.write(file, handle, 0, byte)
          fs.setattr(file, { size: 1 })
          fs.release(file, fs.open(file, O_RDWR | O_TRUNC).handle)
          fs.as({}, () => fs.fallocate(file, handle, 0, 100))
        }),
        process.geteuid?.() === 0 ? 0o6777 : 0o0777,
      )
    },
  },
]

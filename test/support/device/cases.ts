import { strict as assert } from 'node:assert'
import { lstatSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { ROOT_ID } from '../fuse/fuse-abi.js'
import type { FuseGuest } from '../fuse/fuse-guest.js'
import type { Attr } from '../fuse/fuse-wire.js'
import type { Device } from './device.js'

/** The resources of a case. */
export interface Stage {
  readonly fs: FuseGuest
  readonly device: Device
  /** A directory of the share for this case alone: its path on the host, and its node id in the guest. */
  readonly path: string
  readonly dir: bigint
}

/**
 * A behaviour that holds for any queues, descriptors and file system. A case closes the handles it opens. Its lookups
 * are given back for it, and then nothing may be left open in the device.
 */
export interface Case {
  readonly name: string
  /** Names the privileges that the case needs; it is skipped loudly without them. */
  readonly needsRoot?: string
  run(stage: Stage): void
}

export const isRoot = process.geteuid?.() === 0

let directoryNumber = 0

/** Makes one assertion for each case: it completes, and every lookup it was granted can be given back. */
export function runCases(t: Test, device: Device, fs: FuseGuest, cases: readonly Case[]): void {
  for (const { name, needsRoot, run } of cases) {
    if (needsRoot !== undefined && !isRoot) {
      t.pass(name, { skip: `needs root: ${needsRoot}` })
      continue
    }
    const path = join(device.directory, `case-${directoryNumber++}`)
    mkdirSync(path)
    const heldBefore = device.fdCount()
    try {
      const dir = fs.lookup(ROOT_ID, path.slice(device.directory.length + 1)).nodeid
      run({ fs, device, path, dir })
      fs.forgetAll()
      assert.equal(device.fdCount(), heldBefore, 'descriptors held when everything was given back')
      t.pass(name)
    } catch (error) {
      t.fail(`${name}: ${error instanceof Error ? error.stack : error}`)
      fs.init()
    }
    rmSync(path, { recursive: true, force: true })
  }
}

/** Checks that the attributes are the host's for `path` itself. */
export function assertAttr(attr: Attr, path: string): void {
  const st = lstatSync(path, { bigint: true })
  assert.deepEqual(attr, {
    ino: st.ino,
    size: st.size,
    blocks: st.blocks,
    atimeNs: st.atimeNs,
    mtimeNs: st.mtimeNs,
    ctimeNs: st.ctimeNs,
    mode: Number(st.mode),
    nlink: Number(st.nlink),
    uid: Number(st.uid),
    gid: Number(st.gid),
    rdev: Number(st.rdev),
    blksize: Number(st.blksize),
    flags: 0,
  })
}

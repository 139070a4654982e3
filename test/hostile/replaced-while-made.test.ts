/**
 * The host replaces a new file of the guest before the device has looked it up: the guest gets the file that it made,
 * or an errno, and never another inode.
 */
import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Device } from '../support/device/device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { FuseError } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import type { Entry } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { race } from '../support/host/race.js'

const TRIES = 800
const S_IFIFO = 0o010644

t.setTimeout(200_000)

const isErrno = (error: unknown) => error instanceof FuseError

/** Each way to make an inode that cannot be opened, its replacement by the host, and how to remove it. */
const unopenable: Readonly<
  Record<string, { other: 'directory' | 'fifo'; make(fs: FuseGuest): Entry; remove(fs: FuseGuest): void }>
> = {
  'MKDIR beside a fifo': {
    other: 'fifo',
    make: (fs) => fs.mkdir(ROOT_ID, 'made'),
    remove: (fs) => fs.rmdir(ROOT_ID, 'made'),
  },
  'MKDIR beside a directory that the guest knows': {
    other: 'directory',
    make: (fs) => fs.mkdir(ROOT_ID, 'made'),
    remove: (fs) => fs.rmdir(ROOT_ID, 'made'),
  },
  'SYMLINK beside a directory': {
    other: 'directory',
    make: (fs) => fs.symlink(ROOT_ID, 'made', 'target'),
    remove: (fs) => fs.unlink(ROOT_ID, 'made'),
  },
  'MKNOD of a fifo beside a directory': {
    other: 'directory',
    make: (fs) => fs.mknod(ROOT_ID, 'made', S_IFIFO),
    remove: (fs) => fs.unlink(ROOT_ID, 'made'),
  },
}

for (const [name, { other, make, remove }] of Object.entries(unopenable)) {
  t.test(`${name}: the guest gets what it made, or ESTALE`, async (t) => {
    const device = await Device.start(t)
    const path = `${device.directory}/other`
    if (other === 'fifo') execFileSync('mkfifo', [path])
    // The file in it keeps a mistake of the test from removing it.
    else mkdirSync(`${path}/below`, { recursive: true })
    const fs = mount(t, device)
    const { ino } = fs.lookup(ROOT_ID, 'other').attr
    const attempt = () => {
      const outcome = madeOrErrno(t, fs, ino, make)
      for (;;) {
        try {
          remove(fs)
          return outcome
        } catch (error) {
          if (!isErrno(error)) throw error
        }
      }
    }
    const places = { path: `${device.directory}/made`, others: [path] }
    const outcomes = await race(t, places, TRIES, attempt)
    t.same(
      [...outcomes.keys()].filter((outcome) => outcome !== 'made'),
      ['ESTALE'],
    )
    t.equal(BigInt(lstatSync(path).ino), ino)
  })
}

function madeOrErrno(t: Test, fs: FuseGuest, ino: bigint, make: (fs: FuseGuest) => Entry): string {
  try {
    const { nodeid, attr } = make(fs)
    if (attr.ino === ino) t.fail('it is what the host has put there')
    fs.forget(nodeid, 1)
    return 'made'
  } catch (error) {
    if (!isErrno(error)) throw error
    return (error as FuseError).code
  }
}

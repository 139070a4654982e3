import { chmodSync, chownSync, lstatSync, mkdirSync } from 'node:fs'
import type { Device } from '../device/device.js'
import { ROOT_ID } from './fuse-abi.js'
import type { FuseGuest } from './fuse-guest.js'

const O_RDWR = 2

/** Each way to create an inode, by name. */
export const makers: Record<string, (fs: FuseGuest, parent: bigint, name: string) => void> = {
  CREATE(fs, parent, name) {
    const { nodeid, handle } = fs.create(parent, name, O_RDWR, 0o666)
    fs.release(nodeid, handle)
  },
  MKNOD: (fs, parent, name) => fs.mknod(parent, name, 0o100666),
  MKDIR: (fs, parent, name) => fs.mkdir(parent, name, 0o777),
  SYMLINK: (fs, parent, name) => fs.symlink(parent, name, 'target'),
}

let directories = 0

/** Makes a directory. Returns its node id, and a function for the owners of its entries. */
export function ownedDirectory(device: Device, fs: FuseGuest, gid: number, mode: number) {
  const name = `directory-${directories++}`
  const path = `${device.directory}/${name}`
  mkdirSync(path)
  chownSync(path, 0, gid)
  chmodSync(path, mode)
  const stat = (file: string) => lstatSync(`${path}/${file}`)
  return {
    node: fs.lookup(ROOT_ID, name).nodeid,
    stat,
    owner: (file: string) => [stat(file).uid, stat(file).gid],
  }
}

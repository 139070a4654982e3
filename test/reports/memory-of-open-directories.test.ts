/**
 * The device keeps entries that it has read and the guest has not taken yet: at most a few MiB for all open directories
 * together.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startControlled } from '../support/device/control-client.js'
import { users } from '../support/device/users.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'

t.setTimeout(120_000)

const NAMES = 4000
const DIRECTORIES = 800
const ROOM_BYTES = 65_536
const MIB = 1024 * 1024

interface State {
  readonly memory: { readonly directories: number; readonly total: number; readonly limit: number }
}

/** Reads on from `offset`. Returns the names. */
function readOn(fs: FuseGuest, directory: bigint, handle: bigint, offset: bigint): string[] {
  const names: string[] = []
  for (let at = offset; ; ) {
    const entries = fs.readdir(directory, handle, at, ROOM_BYTES)
    if (entries.length === 0) return names
    names.push(...entries.map(({ name }) => name))
    at = entries.at(-1)!.off
  }
}

for (const [user, options] of Object.entries(users)) {
  t.test(`${user}: bounded, in the account, and every name comes once`, async (t) => {
    const { device, control } = await startControlled(t, [], options)
    const path = join(device.directory, 'many')
    mkdirSync(path)
    for (let n = 0; n < NAMES; n++) writeFileSync(join(path, `a-name-of-some-length-${n}`), '')
    const fs = mount(t, device)
    const directory = fs.lookup(ROOT_ID, 'many').nodeid
    const residentMib = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${device.pid}/status`, 'utf8'))?.[1]) / 1024
    const before = residentMib()
    const opened = Array.from({ length: DIRECTORIES }, () => {
      const { handle } = fs.opendir(directory)
      // An entry in the reply is longer than the host's record of it, so some records are left over.
      const entries = fs.readdir(directory, handle, 0, ROOM_BYTES)
      return { handle, first: entries.map(({ name }) => name), offset: entries.at(-1)!.off }
    })
    const { memory } = await control.ask<State>('state')
    t.ok(memory.directories > 4 * MIB && memory.total <= memory.limit, `${memory.directories} bytes`)
    t.ok(memory.directories <= 8 * MIB)
    t.comment(`${before.toFixed(0)} MiB before, ${residentMib().toFixed(0)} MiB now`)
    for (const { handle, first, offset } of [...opened.slice(0, 3), ...opened.slice(-3)]) {
      const names = [...first, ...readOn(fs, directory, handle, offset)]
      t.equal(names.length, NAMES + 2)
      t.equal(new Set(names).size, NAMES + 2)
    }
    for (const { handle } of opened) fs.releasedir(directory, handle)
    t.match(await control.ask('state'), { memory: { directories: 0 }, pendingRequests: 0 })
  })
}

import { constants } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { RunningProgram } from '../device/program.js'
import type { FuseGuest } from '../fuse/fuse-guest.js'
import { mount } from '../fuse/mount.js'
import { tempDir } from '../host/temp-dir.js'

/** Starts the program on a module; returns a guest that has mounted it. */
export async function serveModule(
  t: Test,
  module: string,
  args: readonly string[] = [],
): Promise<{ guest: FuseGuest; program: RunningProgram }> {
  const socketPath = join(tempDir(t), 'socket')
  const program = new RunningProgram(t, ['--file-system', module, '--socket-path', socketPath, ...args])
  await program.says('ready')
  return { guest: mount(t, { socketPath }), program }
}

/** The whole of a file, by its path. */
export function contentOf(guest: FuseGuest, path: string): string {
  let nodeid = 1n
  for (const name of path.split('/')) nodeid = guest.lookup(nodeid, name).nodeid
  const { handle } = guest.open(nodeid, constants.O_RDONLY)
  const content = guest.read(nodeid, handle, 0, 1 << 20)
  guest.release(nodeid, handle)
  return Buffer.from(content).toString()
}

export function namesIn(guest: FuseGuest, nodeid = 1n): string[] {
  const { handle } = guest.opendir(nodeid)
  const names = guest.readdir(nodeid, handle, 0n).map(({ name }) => name)
  guest.releasedir(nodeid, handle)
  return names.filter((name) => !name.startsWith('.')).sort()
}

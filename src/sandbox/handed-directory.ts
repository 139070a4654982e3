import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import * as native from 'virtiofsd-ts-native'
import type { Sandbox } from '../config/options/process-options.js'
import { UserError } from '../config/user-error.js'
import { PacketSocket } from '../sockets/packet-socket.js'

/**
 * Opens a directory for a running process. For one in a sandbox, the descriptor is of a mount of its own: nothing lies
 * above it. The caller owns the descriptor. Throws UserError.
 */
export function openForSandbox(directory: string, readonly: boolean, sandbox: Sandbox): number {
  if (sandbox === 'none') return openSync(directory, native.constants.O_PATH | constants.O_DIRECTORY)
  const pair = new Int32Array(2)
  if (native.unixPair(pair) < 0) throw new Error('no socket pair')
  const [ours = -1, theirs = -1] = pair
  const words = ['hand-over', readonly ? 'readonly' : 'writable', directory]
  const { status, stderr } = spawnSync(native.launcherPath, words, {
    stdio: ['ignore', 'ignore', 'pipe', theirs],
    encoding: 'utf8',
  })
  closeSync(theirs)
  const socket = new PacketSocket(ours)
  const [fd] = status === 0 ? (socket.receive()?.fds ?? []) : []
  socket.close()
  if (fd === undefined) throw new UserError(stderr.trim() || `${directory} cannot be handed over`)
  return fd
}

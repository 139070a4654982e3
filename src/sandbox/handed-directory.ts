import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync } from 'node:fs'
import * as native from 'virtiofsd-ts-native'
import type { Sandbox } from '../config/options/process-options.js'
import { UserError } from '../config/user-error.js'
import { packetPair } from '../sockets/packet-pair.js'
import { PacketSocket } from '../sockets/packet-socket.js'

/**
 * Opens a directory for a running process. For one in a sandbox, the descriptor is of a mount of its own: nothing lies
 * above it. The caller owns the descriptor. Throws UserError.
 */
export function openForSandbox(directory: string, readonly: boolean, sandbox: Sandbox): number {
  if (sandbox === 'none') return openSync(directory, native.constants.O_PATH | constants.O_DIRECTORY)
  const { own, other } = packetPair()
  const words = ['hand-over', readonly ? 'readonly' : 'writable', directory]
  const { status, stderr } = spawnSync(native.launcherPath, words, {
    stdio: ['ignore', 'ignore', 'pipe', other],
    encoding: 'utf8',
  })
  closeSync(other)
  const socket = new PacketSocket(own)
  const [fd] = status === 0 ? (socket.receive()?.fds ?? []) : []
  socket.close()
  if (fd === undefined) throw new UserError(stderr.trim() || `${directory} cannot be handed over`)
  return fd
}

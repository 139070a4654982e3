import { execFileSync } from 'node:child_process'
import * as native from 'virtiofsd-ts-native'
import type { ShareConfig } from '../share/share-config.js'
import { errnoName } from '../virtio-fs/errno.js'
import type { OptionValues } from './option-values.js'
import type { ShareDraft } from './share-builder.js'
import { UserError } from './user-error.js'

/** sun_path has 108 bytes, one of them for the NUL. */
const SOCKET_PATH_MAX_BYTES = 107

type ShareSocket = Pick<ShareConfig, 'socketPath' | 'inheritedFd' | 'socketGid'>

/** Where a share listens: at a path, or at a socket that this process was started with. Throws UserError. */
export function checkedSocket(values: OptionValues, { where }: ShareDraft): ShareSocket {
  const path = values.get('socket-path') as string | undefined
  const fd = values.get('fd') as number | undefined
  const group = values.get('socket-group') as string | undefined
  if (fd === undefined) {
    return {
      socketPath: checkedPath(path, where('socket-path')),
      inheritedFd: undefined,
      socketGid: group === undefined ? undefined : groupId(group, where('socket-group')),
    }
  }
  if (path !== undefined) throw new UserError(`${where('fd')} and ${where('socket-path')}: give one of them`)
  if (group !== undefined) {
    throw new UserError(`${where('socket-group')}: the socket of ${where('fd')} belongs to who made it`)
  }
  return { socketPath: pathOfListener(fd, where('fd')), inheritedFd: fd, socketGid: undefined }
}

function checkedPath(path: string | undefined, where: string): string {
  if (path === undefined) throw new UserError(`${where} is missing: where is QEMU to connect?`)
  const lenBytes = Buffer.byteLength(path)
  if (lenBytes > SOCKET_PATH_MAX_BYTES) {
    throw new UserError(
      `${where} ${path}: ${lenBytes} bytes, a socket path has at most ${SOCKET_PATH_MAX_BYTES}`,
    )
  }
  return path
}

/** Empty for a socket without a path. */
function pathOfListener(fd: number, where: string): string {
  const bytes = new Uint8Array(SOCKET_PATH_MAX_BYTES + 1)
  const result = native.unixListenerPath(fd, bytes)
  if (result >= 0) return Buffer.from(bytes.subarray(0, result)).toString()
  throw new UserError(`${where} ${fd}: not a unix socket that listens (${errnoName(-result)})`)
}

/** Groups may come from anywhere that the host's name service knows, which Node does not ask. */
function groupId(group: string, where: string): number {
  try {
    const stdio: 'pipe'[] = ['pipe', 'pipe', 'pipe']
    const [, , gid] = execFileSync('getent', ['group', '--', group], { encoding: 'utf8', stdio }).split(':')
    return Number(gid)
  } catch {
    throw new UserError(`${where} ${group}: there is no such group`)
  }
}

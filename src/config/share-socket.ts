import { execFileSync } from 'node:child_process'
import { listenerPath, SOCKET_PATH_MAX_BYTES, SystemCallError } from 'vhost-user-ts'
import type { ShareConfig } from '../share/share-config.js'
import { errnoName } from '../virtio-fs/errno.js'
import type { ChosenOptions } from './option-values.js'
import type { ShareDraft } from './share-draft.js'
import { UserError } from './user-error.js'

type ShareSocket = Pick<ShareConfig, 'socketPath' | 'inheritedFd' | 'socketGid'>

/** Where a share listens: at a path, or at a socket that this process was started with. Throws UserError. */
export function checkedSocket(options: ChosenOptions, { where }: ShareDraft): ShareSocket {
  const path = options.get('socket-path')
  const fd = options.get('fd')
  const group = options.get('socket-group')
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
  try {
    return listenerPath(fd)
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error
    throw new UserError(`${where} ${fd}: not a unix socket that listens (${errnoName(error.errno)})`)
  }
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

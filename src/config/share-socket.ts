import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import type { ShareConfig } from '../share/share-config.js'
import type { ChosenOptions } from './option-values.js'
import type { ShareDraft } from './share-draft.js'
import { checkSocketPath, fitsSocket } from './socket-path.js'
import { UserError } from './user-error.js'

type ShareSocket = Pick<ShareConfig, 'socketPath' | 'inheritedFd' | 'socketGid'>

/** Returns where a share listens: at a path, or at an inherited socket. Throws UserError. */
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
    throw new UserError(
      `${where('socket-group')}: not with ${where('fd')}: set the group where that socket is made`,
    )
  }
  // The serving code asks the socket for its path.
  return { socketPath: '', inheritedFd: fd, socketGid: undefined }
}

function checkedPath(path: string | undefined, where: string): string {
  if (path === undefined) throw new UserError(`${where} is missing: where is QEMU to connect?`)
  checkSocketPath(path, `${where} ${path}`)
  // The process changes its working directory. What is too long for a socket stays as it is, and cannot be replaced.
  const whole = resolve(path)
  return fitsSocket(whole) ? whole : path
}

/** Returns a group's id. Asks the host's name service with getent, since groups need not be in /etc/group. */
function groupId(group: string, where: string): number {
  try {
    const stdio: 'pipe'[] = ['pipe', 'pipe', 'pipe']
    const [, , gid] = execFileSync('getent', ['group', '--', group], { encoding: 'utf8', stdio }).split(':')
    return Number(gid)
  } catch {
    throw new UserError(`${where} ${group}: there is no such group`)
  }
}

import { readFileSync, realpathSync, statSync } from 'node:fs'
import type { ShareConfig } from '../share/share-config.js'

const OTHERS_MAY_ENTER = 0o001

/** Lists the unexpected harm that a guest can do to the host by a share, for the log and for check-config. */
export function dangersOf(share: ShareConfig, uid: number): readonly string[] {
  const root = realPathOf(share.directory)
  if (root === undefined || share.readonly || !share.givesDirectory) return []
  if (root === '/')
    return [
      'the whole host is shared: with it the sockets, logs and programs of this process, which the guest may replace',
    ]
  if (root === '/proc' || root.startsWith('/proc/'))
    return ['/proc is shared: through it the guest may change the host itself']
  return uid === 0 && mayLeavePrograms(share) && othersReach(root) && !mountForbids(root)
    ? [
        'the guest can leave set-user-id programs and device nodes here, which users of the host can reach: mount it nosuid,nodev, close a directory above it, or give --no-suid --no-dev',
      ]
    : []
}

function mayLeavePrograms({ allowSuid, allowDev }: ShareConfig): boolean {
  return allowSuid || allowDev
}

/** Returns true if users who are neither owner nor group can enter each directory down to this one. */
function othersReach(root: string): boolean {
  const parts = root.split('/').slice(1)
  const paths = parts.map((_, n) => `/${parts.slice(0, n + 1).join('/')}`)
  return paths.every((path) => {
    const stat = statSync(path, { throwIfNoEntry: false })
    return stat !== undefined && (stat.mode & OTHERS_MAY_ENTER) !== 0
  })
}

/** Returns true if the mount of a directory has both nosuid and nodev. */
function mountForbids(root: string): boolean {
  const options = mountOptionsOf(root)
  return options.includes('nosuid') && options.includes('nodev')
}

/** Returns the options of the mount that holds the path (proc_pid_mountinfo(5)); none without /proc. */
function mountOptionsOf(root: string): readonly string[] {
  const mounts = readText('/proc/self/mountinfo')
    .split('\n')
    .map((line) => line.split(' '))
    .map(([, , , , point = '', options = '']) => ({ point: unescaped(point), options }))
    .filter(({ point }) => point === '/' || root === point || root.startsWith(`${point}/`))
  const longest = Math.max(0, ...mounts.map(({ point }) => point.length))
  return mounts.findLast(({ point }) => point.length === longest)?.options.split(',') ?? []
}

/** Decodes octal escapes, which stand for spaces and the like. */
function unescaped(point: string): string {
  return point.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function realPathOf(path: string): string | undefined {
  try {
    return realpathSync(path)
  } catch {
    return undefined
  }
}

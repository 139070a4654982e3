import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { SetupError } from '../host/setup-error.js'

const SAY_WAITING_AFTER_MS = 2_000

/** The folder that keeps kernels, packages and images between runs. It may be deleted at any time. */
export function cacheRoot(): string {
  const { VIRTIOFSD_TS_CACHE: own, XDG_CACHE_HOME: xdg } = process.env
  if (own) return resolve(own)
  return join(xdg && isAbsolute(xdg) ? xdg : join(homedir(), '.cache'), 'virtiofsd-ts')
}

/**
 * Returns the cached folder `name`; `build` fills it the first time. The folder appears whole or not at all; other
 * callers, in this or other processes, wait for it.
 */
export async function cached(name: string, build: (dir: string) => Promise<void>): Promise<string> {
  const dir = join(cacheRoot(), name)
  if (existsSync(dir)) return dir

  return withLock(name, async () => {
    if (existsSync(dir)) return dir
    const unfinished = `${dir}.unfinished`
    rmSync(unfinished, { recursive: true, force: true })
    mkdirSync(unfinished, { recursive: true })
    try {
      await build(unfinished)
      renameSync(unfinished, dir)
    } finally {
      rmSync(unfinished, { recursive: true, force: true })
    }
    return dir
  })
}

/** Runs `work` while no other process holds the lock `name`. The kernel drops the lock when its holder dies. */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const release = await takeLock(join(cacheRoot(), 'locks', `${name.replaceAll('/', '-')}.lock`))
  try {
    return await work()
  } finally {
    release()
  }
}

/** flock(1) holds the lock for us: its `cat` ends when our end of the pipe closes, however we end. */
function takeLock(path: string): Promise<() => void> {
  makeLockDir(dirname(path))
  const waiting = setTimeout(
    () => process.stderr.write('waiting for another run that fills the cache ...\n'),
    SAY_WAITING_AFTER_MS,
  )
  return new Promise<() => void>((resolve, reject) => {
    const holder = spawn('flock', [path, 'sh', '-c', 'echo locked; exec cat >&2'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
    })
    holder.once('error', () =>
      reject(new SetupError('the command flock (package util-linux) is not installed')),
    )
    holder.once('exit', () => reject(new SetupError(`cannot lock ${path}: is the cache folder writable?`)))
    holder.stdout.once('data', () => resolve(() => holder.stdin.end()))
  }).finally(() => clearTimeout(waiting))
}

/** A lock precedes every change of the cache, so a cache folder that cannot be made is reported here. */
function makeLockDir(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true })
  } catch (error) {
    const reason = error instanceof Error ? error.message : error
    throw new SetupError(`no cache in ${cacheRoot()}: ${reason}; VIRTIOFSD_TS_CACHE can name another folder`)
  }
}

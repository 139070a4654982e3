import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { tempDir } from './temp-dir.js'

const SOURCE = fileURLToPath(new URL('../../../../test/support/host/automount.c', import.meta.url))
const FLAGS = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror']

/** A directory for a share. */
export interface ShareWithAutomount {
  readonly directory: string
  /** Returns how often a file system was mounted over `auto`. */
  countMounts(): Promise<number>
}

/**
 * Makes a directory with `auto`, over which a file system with a file `inside` is mounted on demand. Returns undefined if
 * this host has no autofs.
 */
export async function shareWithAutomount(t: Test): Promise<ShareWithAutomount | undefined> {
  const place = tempDir(t)
  const [program, shared] = [join(place, 'program'), join(place, 'shared')]
  const { status, stderr } = spawnSync('cc', [...FLAGS, '-o', program, SOURCE], { encoding: 'utf8' })
  t.equal(status, 0, stderr)
  mkdirSync(shared)
  spawnSync('mount', ['-t', 'tmpfs', 'none', shared])
  spawnSync('mount', ['--make-shared', shared])
  const directory = join(shared, 'share')
  mkdirSync(join(directory, 'auto'), { recursive: true })
  const server: ChildProcess = spawn(program, [join(directory, 'auto')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  server.stdout?.on('data', (text) => {
    said += text
  })
  t.teardown(() => {
    spawnSync('umount', ['-R', '-l', shared])
    server.kill()
  })
  while (!said.includes('waits') && server.exitCode === null) await sleep(10)
  const countMounts = async () => {
    await sleep(50)
    return said.split('mounted').length - 1
  }
  return server.exitCode === null ? { directory, countMounts } : undefined
}

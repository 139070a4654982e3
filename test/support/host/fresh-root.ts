import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { cached } from '../../../vm/packages/cache.js'
import { findMirror } from '../../../vm/packages/debian-mirror.js'
import { tempDir } from './temp-dir.js'

/** A freshly installed Debian system, for one test. */
export class FreshRoot {
  private constructor(readonly path: string) {}

  /** `downloads`: packages already fetched by apt, so that they can be installed without a network. */
  static async make(t: Test, suite: string, downloads: readonly string[] = []): Promise<FreshRoot> {
    const lower = await cached(['debootstrap', suite, ...downloads].join('-'), async (dir) => {
      run('debootstrap', ['--variant=minbase', suite, dir, await findMirror()])
      if (downloads.length === 0) return
      const options = ['-qy', '--no-install-recommends', '--download-only']
      run('chroot', [dir, 'apt-get', 'install', ...options, ...downloads])
    })
    const place = tempDir(t)
    const [upper, work, path] = ['upper', 'work', 'root'].map((name) => join(place, name)) as [
      string,
      string,
      string,
    ]
    for (const dir of [upper, work, path]) mkdirSync(dir)
    run('mount', [
      ...['-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper},workdir=${work}`],
      path,
    ])
    t.teardown(() => run('umount', ['--recursive', '--lazy', path]))
    run('mount', ['-t', 'proc', 'proc', join(path, 'proc')])
    run('mount', ['--bind', '/dev', join(path, 'dev')])
    return new FreshRoot(path)
  }

  /** Returns the words that run a command inside. */
  words(...command: readonly string[]): readonly string[] {
    return ['chroot', this.path, ...command]
  }

  /** Runs a shell line inside, without a network. Returns its output. Throws with that output on failure. */
  run(line: string): string {
    return run('unshare', ['--net', ...this.words('/bin/sh', '-ec', line)])
  }

  /** Returns every path of the system, except the private files of apt, dpkg and the clock. */
  paths(): readonly string[] {
    const kept = ['/var/lib/dpkg', '/var/lib/apt', '/var/cache', '/var/log', '/proc', '/dev', '/tmp']
    const pruned = kept.flatMap((path, n) => [...(n === 0 ? [] : ['-o']), '-path', path])
    const found = run('chroot', [
      ...[this.path, 'find', '/', '-xdev', '(', ...pruned, ')', '-prune', '-o', '-print'],
    ])
    return found.split('\n').sort()
  }
}

function run(command: string, args: readonly string[]): string {
  const env = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    DEBIAN_FRONTEND: 'noninteractive',
  }
  // The test runner puts its NODE_OPTIONS into each environment. They name files that are not in the other root.
  return execFileSync('env', ['-u', 'NODE_OPTIONS', command, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
    maxBuffer: 64 << 20,
  })
}

import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Guest } from '../guest/guest.js'
import type { Share } from '../guest/qemu.js'
import { showProgress } from '../host/progress.js'
import { cached } from '../packages/cache.js'
import { DebianSuite } from '../packages/debian-suite.js'
import { unpackPackage } from '../packages/unpack.js'
import { DeviceProcess } from './device-process.js'

const SUITE = 'trixie'

/** Packages to work with on a share, and to inspect attributes, locks and flags. */
const PACKAGES = [
  ...[
    'bash',
    'dash',
    'coreutils',
    'findutils',
    'grep',
    'sed',
    'mawk',
    'diffutils',
    'util-linux',
    'mount',
    'procps',
  ],
  ...['attr', 'acl', 'e2fsprogs', 'libcap2-bin', 'tar', 'rsync'],
  ...['git', 'gcc', 'libc6-dev', 'make', 'perl', 'python3', 'sqlite3'],
]

/** Debian makes these links into /usr by a package's script, which does not run here. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64']
/** Mount points for the guest's file systems. */
const MOUNT_POINTS = ['dev', 'proc', 'sys', 'tmp', 'run', 'mnt', 'root', 'var/tmp', 'etc']

const PASSWD = [
  'root:x:0:0:root:/root:/bin/bash',
  'user:x:1000:1000:user:/tmp:/bin/bash',
  'other:x:1001:1001:other:/tmp:/bin/bash',
  'nobody:x:65534:65534:nobody:/:/bin/false',
  '',
].join('\n')
const GROUP = [
  'root:x:0:',
  'user:x:1000:',
  'other:x:1001:',
  'team:x:2000:user,other',
  'nogroup:x:65534:',
  '',
].join('\n')

/** The Debian system's place in the guest. */
const ROOT = '/debian'
export const DEBIAN_TAG = 'debian'
/** Our device serves it with these. */
export const DEBIAN_OPTIONS = ['--readonly', '--cache', 'always']

/**
 * Returns the cached folder of a small Debian system: packages unpacked into one tree, without running their scripts.
 * A guest gets it as a read-only share of our own device.
 */
export async function fetchDebianRoot(more: readonly string[] = []): Promise<string> {
  const packages = [...PACKAGES, ...more]
  const hash = createHash('sha256').update(packages.join(' ')).digest('hex').slice(0, 12)
  return cached(`debian-root-${hash}`, (dir) =>
    showProgress(`fetching a Debian ${SUITE} system`, async () => {
      for (const name of ['usr', ...MERGED.map((link) => `usr/${link}`), ...MOUNT_POINTS])
        mkdirSync(join(dir, name), { recursive: true })
      for (const name of MERGED) symlinkSync(`usr/${name}`, join(dir, name))
      await DebianSuite.use(SUITE, async (suite) => {
        for (const deb of await suite.download(packages, 'dependencies')) await unpackPackage(deb, dir)
      })
      finish(dir)
    }),
  )
}

/** Does the needed part of the packages' scripts. */
function finish(dir: string): void {
  writeFileSync(join(dir, 'etc/passwd'), PASSWD)
  writeFileSync(join(dir, 'etc/group'), GROUP)
  writeFileSync(join(dir, 'etc/ld.so.conf'), '')
  if (!existsSync(join(dir, 'usr/bin/awk'))) symlinkSync('mawk', join(dir, 'usr/bin/awk'))
}

/** A Debian system for guests. */
export interface DebianRoot {
  /** Attach this share to the guest, beside the shares under test. */
  readonly share: Share
  /** Mounts the system in a guest, with a share of the guest on its /mnt. */
  enter(guest: Guest, mountPoint: string): Promise<void>
  /** Returns a command that runs `script` in the system's shell. */
  command(script: string): string
  stop(): Promise<unknown>
}

/** Starts a device that serves the system to one guest. `more` names further packages. */
export async function serveDebianRoot(more: readonly string[] = []): Promise<DebianRoot> {
  const sharedDir = await fetchDebianRoot(more)
  const device = await DeviceProcess.start({
    device: 'virtiofsd-ts',
    sharedDir,
    args: [...DEBIAN_OPTIONS, '--keep-alive'],
  })
  return {
    share: { tag: DEBIAN_TAG, socketPath: device.socketPath },
    enter: (guest, mountPoint) => enterDebianRoot(guest, DEBIAN_TAG, mountPoint),
    command: debianCommand,
    stop: () => device.stop(),
  }
}

/** Returns a command of the guest that runs `script` in the Debian system's shell. */
export function debianCommand(script: string): string {
  return `PATH=/usr/bin:/usr/sbin HOME=/root LC_ALL=C chroot ${ROOT} bash -c '${script.replaceAll("'", "'\\''")}'`
}

/** Mounts the share `tag`, a Debian system, in a guest; what is mounted at and below `mountPoint` is on its /mnt. */
export async function enterDebianRoot(guest: Guest, tag: string, mountPoint: string): Promise<void> {
  await guest.mount(tag, ROOT, 'ro')
  await guest.output(
    [
      `mount --rbind ${mountPoint} ${ROOT}/mnt`,
      ...['dev', 'proc', 'sys'].map((name) => `mount --rbind /${name} ${ROOT}/${name}`),
      ...['tmp', 'run', 'root', 'var/tmp'].map((name) => `mount -t tmpfs none ${ROOT}/${name}`),
      // The guest's own programs.
      `cp /usr/bin/* ${ROOT}/run/ 2>/dev/null || true`,
    ].join(' && '),
  )
}

/** With the exact command lines of programs that start virtiofsd, the device starts, and a guest mounts and reads. */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { isRoot } from '../../support/device/cases.js'
import { RunningProgram } from '../../support/device/program.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

/** What a virtual machine monitor has prepared. */
interface Prepared {
  readonly directory: string
  readonly socketPath: string
}

interface Launch {
  /** With --fd, the listening socket is descriptor 3. */
  readonly line: (prepared: Prepared) => readonly string[]
  readonly inherits?: true
  /** Started by an ordinary user. */
  readonly user?: number
}

const USER = 107
const libvirt = { inherits: true } as const

const launches: Readonly<Record<string, Launch>> = {
  'libvirt, a system connection': {
    ...libvirt,
    line: ({ directory }) => [
      ...['--fd=3', '--shared-dir', directory, '--cache', 'always', '--sandbox', 'namespace', '--xattr'],
      ...['--thread-pool-size=16', '--rlimit-nofile=4096', '--log-level', 'debug'],
    ],
  },
  'libvirt, read-only and chroot': {
    ...libvirt,
    line: ({ directory }) => [
      ...['--fd=3', '--shared-dir', directory, '--cache', 'never', '--sandbox', 'chroot', '--readonly'],
    ],
  },
  'libvirt, for a virtiofsd without separate options': {
    ...libvirt,
    line: ({ directory }) => [
      ...[
        '--fd=3',
        '-o',
        `source=${directory.replaceAll(',', ',,')},cache=always,sandbox=chroot,xattr,flock`,
      ],
      ...['-o', 'no_posix_lock', '-d'],
    ],
  },
  'libvirt, for an ordinary user': {
    ...libvirt,
    user: USER,
    line: ({ directory }) => [
      ...['--fd=3', '--shared-dir', directory, '--uid-map', `:0:${USER}:1:`, '--gid-map', `:0:${USER}:1:`],
    ],
  },
  KubeVirt: {
    user: USER,
    line: ({ directory, socketPath }) => [
      ...[`--socket-path=${socketPath}`, `--shared-dir=${directory}`, '--sandbox=none', '--cache=auto'],
      ...['--migration-on-error=guest-error', '--migration-mode=find-paths'],
    ],
  },
  'KubeVirt, with a user translated': {
    user: USER,
    line: ({ directory, socketPath }) => [
      ...[`--socket-path=${socketPath}`, `--shared-dir=${directory}`, '--sandbox=none', '--cache=auto'],
      ...['--migration-on-error=guest-error', '--migration-mode=find-paths'],
      `--translate-uid=host:${USER}:0:1`,
    ],
  },
  'Kata Containers': {
    inherits: true,
    line: ({ directory }) => [
      ...['--syslog', '--cache=auto', `--shared-dir=${directory}`, '--fd=3', '--thread-pool-size=1'],
      '--announce-submounts',
    ],
  },
  'systemd-vmspawn': {
    inherits: true,
    line: ({ directory }) => [
      ...['--shared-dir', directory, '--xattr', '--fd', '3', '--no-announce-submounts'],
      ...['--log-level=info', '--modcaps=-mknod'],
    ],
  },
  mkosi: {
    inherits: true,
    line: ({ directory }) => [
      ...['--shared-dir', directory, '--xattr', '--no-announce-submounts', '--sandbox=chroot', '--fd', '3'],
    ],
  },
  'virtme-ng': {
    line: ({ directory, socketPath }) => [
      ...['--syslog', '--no-announce-submounts', '--sandbox', 'none', '-o', 'cache=auto'],
      ...['--socket-path', socketPath, '--shared-dir', directory],
    ],
  },
  'RunCVM, in the notation of the older virtiofsd': {
    line: ({ directory, socketPath }) => [
      ...['-o', 'cache=always', '-o', 'announce_submounts', '-o', 'xattr', `--socket-path=${socketPath}`],
      ...['-o', `source=${directory.replaceAll(',', ',,')}`, '-o', 'sandbox=chroot'],
    ],
  },
  'a Firecracker with virtio-fs': {
    line: ({ directory, socketPath }) => [
      ...['--shared-dir', directory, '--socket-path', socketPath, '--readonly', '--no-announce-submounts'],
      ...['--sandbox', 'namespace', '--inode-file-handles=never'],
      ...['--migration-mode', 'find-paths', '--migration-on-error', 'abort'],
    ],
  },
  'cloud-hypervisor': {
    line: ({ directory, socketPath }) => [
      ...[`--socket-path=${socketPath}`, `--shared-dir=${directory}`, '--cache=never'],
    ],
  },
}

/** A directory whose name has a comma, and a place for the socket that its user can write. */
function prepare(t: Test, user: number): Prepared {
  const home = tempDir(t)
  const directory = join(home, 'the, share')
  mkdirSync(directory)
  writeFileSync(join(directory, 'file'), 'content')
  chmodSync(home, 0o755)
  for (const path of [home, directory, join(directory, 'file')]) if (isRoot) chownSync(path, user, user)
  return { directory, socketPath: join(home, 'socket') }
}

for (const [name, { line, inherits, user }] of Object.entries(launches)) {
  t.test(name, { skip: !isRoot && 'needs root, to become others' }, async (t) => {
    const prepared = prepare(t, user ?? 0)
    const { socketPath } = prepared
    const fds = inherits ? [native.unixListen(socketPath, 0o600)] : []
    const launcher =
      user === undefined
        ? []
        : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--inh-caps=-all']
    const program = new RunningProgram(t, line(prepared), launcher, fds)
    for (const fd of fds) native.close(fd)
    await program.says('"ready')
    const fs = mount(t, { socketPath })
    const { nodeid } = fs.lookup(1n, 'file')
    const { handle } = fs.open(nodeid, 0)
    t.equal(Buffer.from(fs.read(nodeid, handle, 0, 100)).toString(), 'content')
    if (/translate|ordinary/.test(name)) t.equal(fs.getattr(nodeid).attr.uid, 0, "the guest's root owns it")
    fs.release(nodeid, handle)
    fs.close()
    t.same(await program.exited, { status: 0, signal: null }, 'it ends when the front-end leaves')
  })
}

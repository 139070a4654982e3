/**
 * --export, --announce-submounts and --security-label in a guest, whose kernel makes the file handles, mounts and
 * labels.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DeviceProcess } from '../../vm/device/device-process.js'
import type { Guest } from '../../vm/guest/guest.js'
import { isRoot } from '../support/device/cases.js'
import {
  bootWith,
  expectQuietKernel,
  newerPairs,
  type SharedDirectory,
  serve,
} from '../support/host/real-guest.js'

t.setTimeout(900_000)

/** Runs before node, which comes as $0 with its arguments: the share is the third of them. */
const MOUNTS =
  'for name in one two; do mkdir "$3/$name" && mount -t tmpfs -o size=1M none "$3/$name" || exit 1; done; exec "$0" "$@"'

/** A share in which the host has mounted two file systems, in a mount namespace of the device's own. */
async function serveMounts(t: Test, tag: string, args: string[]): Promise<SharedDirectory> {
  const path = mkdtempSync(join(tmpdir(), 'guest-share-'))
  const under = ['unshare', '-m', 'sh', '-c', MOUNTS]
  const device = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: path, args, under })
  t.teardown(async () => {
    await device.stop()
    rmSync(path, { recursive: true, force: true })
  })
  return { tag, path, device }
}

async function exports(t: Test, guest: Guest, exported: SharedDirectory): Promise<void> {
  const open = async (tag: string, handle: string) => {
    const { stdout, stderr } = await guest.run(`file-handle open /${tag} ${handle}`)
    return `${stdout}${stderr}`.trim()
  }
  const handles: Record<string, string> = {}
  for (const tag of ['exported', 'private']) {
    await guest.output(`cd /${tag} && mkdir -p a/b && echo text > a/b/file && echo text > a/gone && sync`)
    for (const name of ['a/b', 'a/b/file', 'a/gone'])
      handles[`${tag}/${name}`] = (await guest.output(`file-handle of /${tag}/${name}`)).trim()
    t.equal(await open(tag, handles[`${tag}/a/b/file`]!), 'text', `${tag}: the guest knows the file`)
  }
  // Drops the names and inodes that the guest's kernel caches, and with them its lookups in the device.
  await guest.output('echo 2 > /proc/sys/vm/drop_caches')
  rmSync(join(exported.path, 'a/gone'))
  t.equal(await open('exported', handles['exported/a/b/file']!), 'text', 'a file that it has given back')
  t.equal(await open('exported', handles['exported/a/b']!), '/exported/a/b', 'a directory, and where it is')
  t.match(await open('exported', handles['exported/a/gone']!), /Stale file handle/)
  t.match(await open('private', handles['private/a/b/file']!), /Stale file handle/, 'without --export')
}

async function submounts(t: Test, guest: Guest): Promise<void> {
  const devices = async (tag: string) => {
    const paths = ['', '/one', '/two'].map((name) => `/${tag}${name}/.`)
    return (await guest.output(`stat -c %d ${paths.join(' ')}`)).trim().split('\n')
  }
  t.equal(new Set(await devices('announced')).size, 3, 'each mount of the host is one in the guest')
  t.equal(new Set(await devices('hidden')).size, 1, 'with --no-announce-submounts it is a directory')
  const mounts = await guest.output("awk '{ print $5 }' /proc/self/mountinfo")
  for (const name of ['one', 'two']) t.match(mounts, new RegExp(`^/announced/${name}$`, 'm'))
  await guest.output('echo text > /announced/one/file && [ "$(cat /announced/one/file)" = text ]')
  const link = await guest.run('ln /announced/one/file /announced/two/file')
  t.match(link.stderr.toString(), /[Cc]ross-device/)
  await guest.output('umount /announced')
}

async function labels(t: Test, guest: Guest, labelled: SharedDirectory): Promise<void> {
  const script = 'import os, sys; print(os.getxattr(sys.argv[1], "security.selinux", follow_symlinks=False))'
  await guest.output('cd /labelled && echo text > file && mkdir directory && ln -s file link && mkfifo fifo')
  for (const name of ['file', 'directory', 'link', 'fifo']) {
    const path = join(labelled.path, name)
    // Without a policy SELinux has this one label for files.
    t.match(execFileSync('python3', ['-c', script, path], { encoding: 'utf8' }), /^b'unlabeled/, name)
  }
}

if (!isRoot) t.plan(0, 'needs root: it mounts file systems and sets security attributes')
else {
  for (const { kernel, qemu } of newerPairs) {
    t.test(`Linux ${kernel}`, async (t) => {
      const exported = await serve(t, 'exported', ['--export'])
      const labelled = await serve(t, 'labelled', ['--security-label', '--modcaps', '+SYS_ADMIN'])
      const shares = [
        exported,
        labelled,
        await serve(t, 'private'),
        await serveMounts(t, 'announced', []),
        await serveMounts(t, 'hidden', ['--no-announce-submounts']),
      ]
      const guest = await bootWith(t, shares, { kernel, qemu, kernelArgs: ['security=selinux', 'selinux=1'] })
      await t.test('file handles', (t) => exports(t, guest, exported))
      await t.test('mounts inside of a share', (t) => submounts(t, guest))
      await t.test('security labels', (t) => labels(t, guest, labelled))
      await expectQuietKernel(t, guest)
      await guest.shutdown()
    })
  }
}

/**
 * --export, --announce-submounts and --security-label in a guest, whose kernel makes the file handles, mounts and
 * labels; and file systems that the host mounts on demand.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DeviceProcess } from '../../vm/device/device-process.js'
import type { Guest } from '../../vm/guest/guest.js'
import { isRoot } from '../support/device/cases.js'
import { type ShareWithAutomount, shareWithAutomount } from '../support/host/automount.js'
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

async function serveDirectory(t: Test, tag: string, path: string): Promise<SharedDirectory> {
  const device = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: path })
  t.teardown(() => device.stop())
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

/** The guest walks into a directory over which the host mounts a file system on demand, as autofs and systemd do. */
async function mountsOnDemand(t: Test, guest: Guest, tag: string, share: ShareWithAutomount): Promise<void> {
  const auto = `/${tag}/auto`
  for (const round of [1, 2]) {
    // Names alone: ls looks each of them up.
    t.equal(await guest.output(`echo /${tag}/*`), `${auto}\n`)
    t.equal(await share.countMounts(), round - 1, 'a listing mounts nothing')
    t.equal(await guest.output(`ls ${auto}`), 'inside\n')
    t.equal(await share.countMounts(), round)
    await guest.output(`echo text > ${auto}/inside && mkdir ${auto}/sub && echo more > ${auto}/sub/file`)
    t.equal(await guest.output(`cat ${auto}/inside ${auto}/sub/file`), 'text\nmore\n')
    t.equal(readFileSync(join(share.directory, 'auto/sub/file'), 'utf8'), 'more\n')
    t.match(await guest.output("awk '{ print $5 }' /proc/self/mountinfo"), new RegExp(`^${auto}$`, 'm'))
    // The guest forgets it, so the host can unmount it, and mounts it again when somebody walks into it.
    await guest.output(`umount ${auto} && echo 2 > /proc/sys/vm/drop_caches`)
    t.equal(spawnSync('umount', [join(share.directory, 'auto')], { stdio: 'inherit' }).status, 0)
  }
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
      const onDemand = await shareWithAutomount(t)
      if (onDemand !== undefined) shares.push(await serveDirectory(t, 'on-demand', onDemand.directory))
      const guest = await bootWith(t, shares, { kernel, qemu, kernelArgs: ['security=selinux', 'selinux=1'] })
      await t.test('file handles', (t) => exports(t, guest, exported))
      await t.test('mounts inside of a share', (t) => submounts(t, guest))
      if (onDemand === undefined) t.pass('mounts on demand', { skip: 'this host has no autofs' })
      else await t.test('mounts on demand', (t) => mountsOnDemand(t, guest, 'on-demand', onDemand))
      await t.test('security labels', (t) => labels(t, guest, labelled))
      await expectQuietKernel(t, guest)
      await guest.shutdown()
    })
  }
}

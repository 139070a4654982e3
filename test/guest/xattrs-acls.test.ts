/** Extended attributes, ACLs, file capabilities, flags of inodes and copies that keep them, by the tools of a Debian guest. */
import { execFileSync } from 'node:child_process'
import { chmodSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type DebianRoot, serveDebianRoot } from '../../vm/device/debian-root.js'
import type { Guest } from '../../vm/guest/guest.js'
import { bootWith, expectQuietKernel, type SharedDirectory, serve } from '../support/host/real-guest.js'

t.setTimeout(900_000)

/** Attributes of a file of the host, by a program of its own: Node has no call for them. */
function hostXattr(path: string, name: string): string {
  const script = 'import os, sys; print(os.getxattr(sys.argv[1], sys.argv[2]).decode("latin1"), end="")'
  return execFileSync('python3', ['-c', script, path, name], { encoding: 'latin1' })
}

/** A guest with a share on /mnt of a Debian system. */
interface Bench {
  readonly share: SharedDirectory
  /** What a script prints, run in the share by root. */
  run(script: string): Promise<string>
}

async function xattrs(t: Test, { share, run }: Bench): Promise<void> {
  t.equal(
    await run(
      'touch file && setfattr -n user.colour -v blue file && getfattr --only-values -n user.colour file',
    ),
    'blue',
  )
  t.equal(hostXattr(join(share.path, 'file'), 'user.colour'), 'blue')
  t.match(
    await run(
      'setfattr -n user.size -v "$(head -c 3000 /dev/zero | tr "\\0" x)" file && getfattr -d file | wc -c',
    ),
    /^30/,
  )
  t.match(await run('setfattr -x user.size file && getfattr file'), /^# file: file\nuser\.colour$/)
  t.match(await run('getfattr -n user.none file 2>&1 || true'), /No such attribute/)
}

async function acls(t: Test, { share, run }: Bench): Promise<void> {
  await run('mkdir acl && chmod 700 acl && echo secret > acl/file && chmod 600 acl/file')
  const asUser = 'setpriv --reuid 1000 --regid 1000 --clear-groups'
  t.equal(await run(`${asUser} cat acl/file 2>/dev/null || echo refused`), 'refused')
  await run('setfacl -m u:user:rx acl && setfacl -m u:user:r acl/file')
  t.equal(await run(`${asUser} cat acl/file`), 'secret')
  t.match(await run('getfacl acl/file'), /user:user:r--\n/)
  t.equal(statSync(join(share.path, 'acl/file')).mode & 0o777, 0o640, 'the mask shows in the group bits')
  await run('setfacl -d -m u:user:rwx acl && umask 077 && echo new > acl/inherits && mkdir acl/sub')
  t.match(await run('getfacl acl/inherits'), /user:user:rwx/)
  t.match(await run('getfacl acl/sub'), /default:user:user:rwx\n/)
  await run('umask 077 && mkdir plain && echo x > plain/file')
  t.equal(
    statSync(join(share.path, 'plain/file')).mode & 0o777,
    0o600,
    'without a default ACL the umask applies',
  )
  chmodSync(join(share.path, 'plain'), 0o755)
}

async function inodeFlags(t: Test, { run }: Bench): Promise<void> {
  await run(
    'mkdir -p flags/directory && touch flags/file && chattr +dA flags/file && chattr +d flags/directory',
  )
  const listed = await run('lsattr flags; lsattr -d flags/directory')
  t.match(listed, /^[-d]*d[-A]*A.* flags\/file$/m)
  t.match(listed, /d.* flags\/directory$/m)
  await run('chattr -d flags/file')
  t.notMatch(await run('lsattr flags/file'), /^[^ ]*d/)
  t.match(await run('chattr +i flags/file 2>&1 || true'), /Operation not supported/)
  t.match(await run('lsattr -p flags/file'), /^0 /)
  t.not(await run('stat -c %W flags/file'), '0', 'time of birth')
}

/** With --modcaps +LINUX_IMMUTABLE the guest's root may do what that of the host may. */
async function immutable(t: Test, guest: Guest, root: DebianRoot): Promise<void> {
  await guest.output('mkdir /debian/run/immutable && mount --bind /immutable /debian/run/immutable')
  const run = async (script: string) =>
    (await guest.output(root.command(`cd /run/immutable && { ${script}\n} 2>&1`))).trim()
  await run('echo text > fixed && echo text > grows && chattr +i fixed && chattr +a grows')
  t.match(await run('lsattr fixed grows'), /^[-]*i.* fixed\n[-]*a.* grows$/)
  for (const change of [
    'echo more >> fixed',
    'chmod 600 fixed',
    'rm fixed',
    'ln fixed linked',
    'mv fixed away',
  ])
    t.match(await run(`${change} || true`), /Operation not permitted/, change)
  t.equal(await run('echo more >> grows && cat grows'), 'text\nmore', 'an append-only file grows')
  for (const change of ['echo other > grows', 'truncate -s 0 grows', 'rm grows'])
    t.match(await run(`${change} || true`), /Operation not permitted/, change)
  await run('chattr -i fixed && chattr -a grows && rm fixed grows')
}

async function capabilities(t: Test, { run }: Bench): Promise<void> {
  await run('cp /usr/bin/true program && setcap cap_net_raw+ep program')
  t.match(await run('getcap program'), /program cap_net_raw=ep/)
  await run('printf x >> program')
  t.equal(await run('getcap program'), '', 'gone once the program is written to')
}

/** The times are old, because rsync does not set one that lies in the right second already. */
async function copies(t: Test, { run }: Bench): Promise<void> {
  await run(`mkdir -p tree/sub && cd tree && echo one > file && ln file hard && ln -s file soft && mkfifo fifo &&
    mknod null c 1 3 && truncate -s 1M sparse && printf x | dd of=sparse bs=1 seek=500000 conv=notrunc status=none &&
    setfattr -n user.a -v 1 file sub && setfacl -m u:user:rw file && setfacl -d -m g:team:rwx sub && chmod 2750 sub &&
    chown 1000:2000 sub && touch -hd @1000000000.123456789 file fifo null soft`)
  const describe = `find . -printf "%P %y %m %U:%G %n %s %T@ %l\\n" | sed 's/^\\([^ ]* d [0-9]* [0-9:]*\\) [0-9]* [0-9]* .*/\\1/' | sort &&
    getfattr -dR -m - . 2>/dev/null && getfacl -R . && du -k sparse | cut -f1`
  const before = await run(`cd tree && ${describe}`)
  for (const [tool, copy] of [
    [
      'tar',
      'mkdir /tmp/t && tar --xattrs --acls --sparse -cf /tmp/t.tar -C tree . && tar --xattrs --acls --xattrs-include="*" -xpf /tmp/t.tar -C /tmp/t && mkdir out && tar --xattrs --acls --sparse -cf - -C /tmp/t . | tar --xattrs --acls --xattrs-include="*" -xpf - -C out',
    ],
    ['rsync', 'rsync -aHAXS tree/ /tmp/r && rsync -aHAXS /tmp/r/ out'],
    ['cp', 'cp -a tree out'],
  ]) {
    await run(copy)
    t.equal(await run(`cd out && ${describe}`), before, tool)
    await run('rm -r out')
  }
}

async function onGuest(t: Test, root: DebianRoot, guest: Guest, share: SharedDirectory): Promise<void> {
  await root.enter(guest, `/${share.tag}`)
  const run = async (script: string) =>
    (await guest.output(root.command(`cd /mnt && { ${script}\n}`), { timeoutMs: 120_000 })).trim()
  const bench = { share, run }
  await t.test('attributes', (t) => xattrs(t, bench))
  await t.test('ACLs', (t) => acls(t, bench))
  await t.test('flags of inodes, and the time of birth', (t) => inodeFlags(t, bench))
  await t.test('immutable and append-only files', (t) => immutable(t, guest, root))
  await t.test('file capabilities', (t) => capabilities(t, bench))
  await t.test('tar, rsync and cp keep everything, both ways', (t) => copies(t, bench))
}

const root = await serveDebianRoot()
t.teardown(() => root.stop())

for (const { kernel, qemu, args } of [
  { kernel: '6.12', qemu: '10', args: ['--posix-acl'] },
  { kernel: '7', qemu: '11', args: ['--posix-acl', '--cache', 'always'] },
]) {
  t.test(`Linux ${kernel}, ${args.join(' ')}`, async (t) => {
    const share = await serve(t, 'files', args)
    chmodSync(share.path, 0o755)
    const strong = await serve(t, 'immutable', ['--modcaps', '+LINUX_IMMUTABLE'])
    const guest = await bootWith(t, [share, strong], { kernel, qemu, more: [root.share] })
    await onGuest(t, root, guest, share)
    await expectQuietKernel(t, guest)
    await guest.shutdown()
  })
}

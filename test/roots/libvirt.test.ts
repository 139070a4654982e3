/** libvirt, as Debian has it, with our program for its shares: a domain starts, shares come and go, it is saved and restored. Its device is replaced, too. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { sleep } from '../support/device/device.js'
import { DomainGuest, fileSystem, Libvirt, readIn } from '../support/host/libvirt.js'

t.setTimeout(900_000)

const TRIES = 120

t.test('a domain of libvirt', async (t) => {
  if (process.getuid?.() !== 0) {
    t.pass('libvirt', { skip: 'needs root' })
    return
  }
  const libvirt = await Libvirt.start(t)
  const { root } = libvirt
  t.comment(libvirt.virsh('version').split('\n').at(-1))
  for (const directory of ['share', 'second'])
    mkdirSync(join(root.path, 'srv', directory), { recursive: true })
  writeFileSync(join(root.path, 'srv/share/hello'), 'from the host\n')
  libvirt.define('guest', fileSystem('/srv/share', 'share'))
  t.teardown(() => {
    if (!t.passing()) t.comment(libvirt.log())
  })

  const guest = await DomainGuest.behind(await libvirt.startDomain('guest'))
  await guest.output('mkdir -p /share /second && mount -t virtiofs share /share')
  t.equal(await guest.output('cat /share/hello'), 'from the host\n')
  guest.start('exec 9<>/share/count && n=0; while n=$((n+1)); do echo $n >&9; sleep 0.2; done')

  const second = libvirt.describe('second', fileSystem('/srv/second', 'second'))
  libvirt.virsh('attach-device', 'guest', second, '--live')
  await guest.output('until mount -t virtiofs second /second; do sleep 1; done 2>/dev/null')
  await guest.output('echo plugged >/second/file && umount /second')
  t.equal(readIn(root, 'srv/second/file'), 'plugged\n', 'a share is plugged in')
  libvirt.virsh('detach-device', 'guest', second, '--live')
  const hasSecond = () => libvirt.virsh('dumpxml', 'guest').includes("dir='second'")
  for (let n = 0; hasSecond() && n < TRIES; n++) await sleep(500)
  t.notOk(hasSecond(), 'and unplugged')

  for (let n = 1; n <= 3; n++) {
    const counted = readIn(root, 'srv/share/count')
    libvirt.replaceDevice('share')
    t.equal(libvirt.virsh('domstate', 'guest'), 'running')
    t.equal(await guest.output('cat /share/hello'), 'from the host\n')
    await guest.output('sleep 1')
    t.ok(
      readIn(root, 'srv/share/count').length > counted.length,
      `after replacement ${n} a program goes on writing`,
    )
  }

  for (let n = 1; n <= 2; n++) {
    libvirt.virsh('managedsave', 'guest')
    t.equal(libvirt.virsh('domstate', 'guest'), 'shut off')
    const counted = readIn(root, 'srv/share/count')
    guest.goOnAt(await libvirt.startDomain('guest'))
    t.equal(await guest.output(`echo ${n} >>/share/after && cat /share/hello`), 'from the host\n')
    await guest.output('sleep 3')
    const later = readIn(root, 'srv/share/count')
    t.ok(
      later.startsWith(counted) && later.length > counted.length,
      `after restore ${n} a program goes on writing`,
    )
  }
  t.equal(readIn(root, 'srv/share/after'), '1\n2\n')
  t.notMatch(await guest.output('dmesg'), /(fuse|virtio-?fs).*(error|fail|bug|warn)/i)
  libvirt.virsh('destroy', 'guest')
})

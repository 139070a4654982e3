/** The AppArmor profile of `make deb`, enforced by a guest's kernel: what the program needs it may do, and a network it gets none. */
import { copyFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { DeviceProcess } from '../../vm/device/device-process.js'
import { bootGuest, type Guest } from '../../vm/guest/guest.js'
import { FreshRoot } from '../support/host/fresh-root.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const RELEASE = join(ROOT, 'release')
/** Without KVM, Node takes some seconds to start. */
const LONG_MS = 120_000
const MOUNTS = [
  ['proc', '/proc'],
  ['sysfs', '/sys'],
  ['securityfs', '/sys/kernel/security'],
  ['devtmpfs', '/dev'],
  ['tmpfs', '/run'],
  ['tmpfs', '/srv'],
] as const
const DENIED = /apparmor="DENIED"/

t.setTimeout(900_000)

/** A guest of Debian's kernel with a Debian 13 at /system, in which the package and this tree are. */
async function bootDebian(t: Test): Promise<Guest> {
  const root = await FreshRoot.make(t, 'trixie', ['nodejs', 'apparmor'])
  const deb = readdirSync(RELEASE).find((file) => file.endsWith('_amd64.deb')) as string
  copyFileSync(join(RELEASE, deb), join(root.path, 'root', deb))
  root.run(`apt-get install -qy --no-install-recommends apparmor /root/${deb}`)
  const shares = await Promise.all(
    Object.entries({ system: root.path, tests: ROOT }).map(async ([tag, sharedDir]) => {
      const device = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir })
      t.teardown(() => device.stop())
      return { tag, socketPath: device.socketPath }
    }),
  )
  const kernelArgs = ['apparmor=1', 'security=apparmor']
  const guest = await bootGuest({ shares, kernelArgs, memoryMiB: 1024 })
  t.teardown(() => guest.kill())
  await guest.output(`cat > /bin/in-debian <<'END'\n${IN_DEBIAN}END\nchmod +x /bin/in-debian`)
  await guest.mount('system', '/system')
  for (const [type, place] of MOUNTS) await guest.output(`mount -t ${type} ${type} /system${place}`)
  await guest.output(
    `mkdir -p /system${ROOT} /system/srv/data /system/srv/more && echo content > /system/srv/data/file`,
  )
  await guest.mount('tests', `/system${ROOT}`, 'ro')
  return guest
}

/** The program of the guest that runs a command in its Debian. That is the root of a mount namespace then: profiles name paths from there. */
const IN_DEBIAN = `#!/bin/sh
cd /system && mount --move . / && exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin "$@"
`
const inDebian = (command: string) => `exec unshare -m /bin/in-debian ${command}`

/** What a front-end does that is not confined. */
const CLIENT = `import('${ROOT}dist/test/soak/front-end.js').then(({ connectGuest }) => {
  const fs = connectGuest('/run/data.sock')
  console.log(fs.lookup(1n, 'file').attr.size)
  const { nodeid, handle } = fs.create(1n, 'made', 2)
  fs.write(nodeid, handle, 0, Buffer.from('written'))
  fs.setattr(nodeid, { uid: 1000, mode: 0o100600 })
  fs.mknod(1n, 'pipe', 0o010644)
  fs.close()
})`

t.test('enforced', async (t) => {
  const guest = await bootDebian(t)
  const run = (command: string) => guest.output(inDebian(command), { timeoutMs: LONG_MS })
  t.equal(await guest.output('cat /sys/module/apparmor/parameters/enabled'), 'Y\n')
  await run('apparmor_parser --replace /etc/apparmor.d/virtiofsd-ts')

  const control = '--control-socket /run/data.ctl'
  const program = guest.spawn(
    inDebian(`virtiofsd-ts --shared-dir /srv/data --socket-path /run/data.sock --keep-alive ${control}`),
  )
  const fails = program.result.then(({ stderr }) => {
    throw new Error(stderr.toString())
  })
  const listens = 'until [ -S /system/run/data.sock ]; do sleep 0.2; done'
  await Promise.race([guest.output(listens, { timeoutMs: LONG_MS }), fails])

  await t.test('serves, and takes a share while it runs', async (t) => {
    t.match(await run(`node -e "${CLIENT}"`), /^8n?\n$/)
    t.match(
      await guest.output(
        'cd /system/srv/data && cat made && stat -c "%u %a" made && [ -p pipe ] && echo pipe',
      ),
      'written1000 600\npipe\n',
    )
    t.match(
      await run(`virtiofsd-ts ctl ${control} share-add tag=more,path=/srv/more,socket=/run/more.sock`),
      '"name": "more"',
    )
    const processes = await guest.output(
      // The brackets keep the shell that runs this out of it.
      'for p in /proc/[0-9]*; do grep -q "shared-di[r]" $p/cmdline && cat $p/attr/current; done; true',
    )
    const profiles = processes.trim().split('\n')
    t.ok(profiles.length >= 2, 'the launcher and the process that serves')
    t.same(new Set(profiles), new Set(['virtiofsd-ts (enforce)']))
  })

  program.kill()
  t.match(await program.result, { status: 0 })
  const log = await guest.kernelLog()
  t.same(
    log.map(({ text }) => text).filter((text) => DENIED.test(text)),
    [],
    'the kernel has refused nothing',
  )

  t.test('a network is refused', async (t) => {
    const { status, stderr } = await guest.run(
      inDebian('virtiofsd-ts --shared-dir /srv/data --socket-path /run/other.sock --metrics 9137'),
      { timeoutMs: LONG_MS },
    )
    t.equal(status, 2)
    t.match(stderr.toString(), /--metrics 127\.0\.0\.1:9137: cannot listen there \(EACCES\)/)
  })
})

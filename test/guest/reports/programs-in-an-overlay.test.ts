/**
 * A share as the upper directory of overlayfs: set-id programs and capabilities of a lower directory survive that overlayfs
 * copies them up. And a share of generated files, which have no size: a guest that caches reads them whole.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { serveDebianRoot } from '../../../vm/device/debian-root.js'
import { DeviceProcess } from '../../../vm/device/device-process.js'
import { bootWith, expectQuietKernel, pairs, serve } from '../../support/host/real-guest.js'

const GENERATED = '/proc/sys/kernel'
const modes = ['4755', '2755', '6755', '1644']

/** Prints mode, owner and capability of each copy. */
const script = (tag: string) => `
cd /mnt/${tag}
mkdir -p /tmp/lower /tmp/merged upper work
for mode in ${modes.join(' ')}; do
  echo text > /tmp/lower/$mode; chown 1000:1000 /tmp/lower/$mode; chmod $mode /tmp/lower/$mode
done
setcap cap_net_raw+ep /tmp/lower/1644
mount -t overlay overlay -o userxattr,lowerdir=/tmp/lower,upperdir=$PWD/upper,workdir=$PWD/work /tmp/merged
for mode in ${modes.join(' ')}; do
  touch /tmp/merged/$mode
  stat -c %a:%u:%g upper/$mode
done
# Linux 6.1 asks for what it has copied once its name is no longer valid.
sleep 1.2
getcap /tmp/merged/1644
chown 1001 /tmp/merged/6755
stat -c %a:%u /tmp/merged/6755
umount /tmp/merged
rm -r /tmp/lower
# Whoever changes a program itself takes its privileges.
echo text > program; chown 1000 program; chmod 6755 program; setcap cap_net_raw+ep program
getcap program
chown 1002 program
stat -c %a:%u program; getcap program
setcap cap_net_raw+ep program; truncate -s 1 program; getcap program`

t.setTimeout(600_000)

for (const { kernel, qemu } of pairs) {
  t.test(`Linux ${kernel}`, async (t) => {
    const shares = []
    for (const tag of ['never', 'auto', 'always'])
      shares.push(await serve(t, tag, ['--no-killpriv-v2', '--cache', tag]))
    const generated = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: GENERATED, args: [] })
    t.teardown(() => generated.stop())
    const root = await serveDebianRoot()
    t.teardown(() => root.stop())
    const guest = await bootWith(t, shares, {
      kernel,
      qemu,
      modules: ['overlay'],
      more: [root.share, { tag: 'generated', socketPath: generated.socketPath }],
    })
    await guest.output('mkdir /shares && mount -t tmpfs none /shares')
    for (const { tag } of shares)
      await guest.output(`mkdir /shares/${tag} && mount --bind /${tag} /shares/${tag}`)
    await root.enter(guest, '/shares')
    for (const { tag } of shares)
      t.same(
        (await guest.output(root.command(script(tag)))).trim().split('\n'),
        [
          ...modes.map((mode) => `${mode}:1000:1000`),
          '/tmp/merged/1644 cap_net_raw=ep',
          '755:1001',
          'program cap_net_raw=ep',
          '755:1002',
        ],
        tag,
      )
    await guest.mount('generated', '/generated')
    for (const name of ['ostype', 'random/boot_id'])
      t.equal(
        // Linux since 6.5 splices, as cat of busybox does, through the page cache all the same.
        await guest.output(`dd if=/generated/${name} bs=4096 2> /dev/null`),
        readFileSync(`${GENERATED}/${name}`, 'utf8'),
        name,
      )
    await expectQuietKernel(t, guest)
  })
}

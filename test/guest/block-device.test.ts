/**
 * The block device of vhost-user-ts in a real guest: an ext4 is made on it, filled, checked after a restart, and
 * verified.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { bootGuest } from '../../vm/guest/guest.js'
import { expectQuietKernel } from '../support/host/real-guest.js'
import { tempDir } from '../support/host/temp-dir.js'

// From dist/test/guest back to the sources.
const EXAMPLE = fileURLToPath(new URL('../../../src/vhost-user/examples/block-device.js', import.meta.url))
const MIB = 2 ** 20
const IMAGE_BYTES = 192 * MIB
const GROWN_BYTES = 256 * MIB
const SECTOR_BYTES = 512

t.setTimeout(900_000)

interface Device {
  readonly image: string
  readonly socketPath: string
  readonly pid: number
  /** Checks that it still runs, and that it ends on request. */
  stop(): Promise<void>
}

async function startDevice(t: Test): Promise<Device> {
  const directory = tempDir(t)
  const image = join(directory, 'image')
  const socketPath = join(directory, 'socket')
  writeFileSync(image, '')
  truncateSync(image, IMAGE_BYTES)
  const device = spawn(process.execPath, [EXAMPLE, image, socketPath], { stdio: 'inherit' })
  const exited = once(device, 'exit')
  t.teardown(() => device.kill('SIGKILL'))
  while (!existsSync(socketPath) && device.exitCode === null) await sleep(20)
  const stop = async () => {
    t.equal(device.exitCode, null, 'the device has lived until now')
    device.kill('SIGTERM')
    t.same(await exited, [0, null], 'and ends when it is asked to')
  }
  return { image, socketPath, pid: device.pid ?? 0, stop }
}

for (const [kernel, qemu] of [
  ['6.1', '7.2'],
  ['6.12', '10'],
  ['7', '11'],
]) {
  t.test(`Linux ${kernel} under QEMU ${qemu} keeps a file system on it`, async (t) => {
    const { image, socketPath, pid, stop } = await startDevice(t)
    const guest = await bootGuest({
      kernel,
      qemu,
      disks: [{ socketPath, queues: 2 }],
      modules: ['virtio_blk', 'ext4'],
      programs: ['e2fsprogs'],
    })
    t.teardown(() => guest.kill())
    const sectors = async () => Number(await guest.output('cat /sys/block/vda/size'))
    t.equal(await sectors(), IMAGE_BYTES / SECTOR_BYTES)
    t.equal(await guest.output('ls /sys/block/vda/mq | wc -l'), '2\n', 'both queues are used')
    t.match(await guest.output('cat /sys/block/vda/queue/write_cache'), 'write back', 'FLUSH is agreed on')

    await guest.output('echo "write through" > /sys/block/vda/cache_type')
    t.match(
      await guest.output('cat /sys/block/vda/queue/write_cache'),
      'write through',
      'written to the device',
    )
    await guest.output('dd if=/dev/urandom of=/dev/vda bs=64k count=1 2>/dev/null')
    await guest.output('echo "write back" > /sys/block/vda/cache_type')

    await guest.output('/usr/bin/mke2fs -q -t ext4 /dev/vda && mount -t ext4 /dev/vda /mnt', {
      timeoutMs: 300_000,
    })
    await guest.output(
      `set -e; cd /mnt
      for n in $(seq 1 20); do mkdir d$n; dd if=/dev/urandom of=d$n/file bs=64k count=$n 2>/dev/null; ln d$n/file d$n/link; done
      find d* -type f -exec sha256sum {} + | sort > /mnt/sums
      dd if=d20/file of=direct bs=128k oflag=direct conv=fsync 2>/dev/null; cmp d20/file direct
      sync; wc -l < sums`,
      { timeoutMs: 300_000 },
    )
    const full = await guest.run('dd if=/dev/zero of=/mnt/filler bs=1M', { timeoutMs: 300_000 })
    t.match(full.stderr.toString(), /No space left on device/, 'filled to the last block')
    await guest.output('rm /mnt/filler /mnt/d1/link; echo last > /mnt/last; sync')

    await guest.reboot()
    await guest.output('/usr/bin/e2fsck -p /dev/vda; test $? -le 1 && /usr/bin/e2fsck -f -n /dev/vda', {
      timeoutMs: 300_000,
    })
    await guest.output(
      'mount -t ext4 /dev/vda /mnt && cd /mnt && grep -v d1/link sums | sha256sum -c > /dev/null',
      {
        timeoutMs: 300_000,
      },
    )
    t.equal(await guest.output('cat /mnt/last'), 'last\n')
    await guest.output('cmp /mnt/d20/link /mnt/direct && umount /mnt')

    truncateSync(image, GROWN_BYTES)
    process.kill(pid, 'SIGHUP')
    for (const endMs = performance.now() + 30_000; (await sectors()) === IMAGE_BYTES / SECTOR_BYTES; )
      if (performance.now() > endMs) break
    t.equal(await sectors(), GROWN_BYTES / SECTOR_BYTES, 'the running guest knows that the disk has grown')
    await expectQuietKernel(t, guest)
    await guest.shutdown()
    await stop()
  })
}

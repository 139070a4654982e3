/** Guests with more memory than 32 bits can address, and with memory that is plugged in while the share is in use. */
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Guest } from '../../vm/guest/guest.js'
import {
  bootWith,
  expectQuietKernel,
  hashOf,
  type SharedDirectory,
  serve,
} from '../support/host/real-guest.js'

const LARGE_MIB = 6 * 1024
const PIECES = 5
const PIECE_MIB = 1_000
const SAMPLE_MIB = 48
const LONG_MS = 400_000

t.setTimeout(900_000)

/** Copies a file of the guest's memory to the share and back. Both sides, and both ways, have the same sum. */
async function copyBothWays(t: Test, guest: Guest, share: SharedDirectory, name: string): Promise<void> {
  const sums = await guest.output(
    `cd /ram && dd if=/dev/urandom of=${name} bs=1M count=${SAMPLE_MIB} 2>/dev/null && cp ${name} /${share.tag}/${name} &&
     echo 3 > /proc/sys/vm/drop_caches && cp /${share.tag}/${name} ${name}.back && sha256sum ${name} ${name}.back`,
    { timeoutMs: LONG_MS },
  )
  const [there, back] = sums.split('\n').map((line) => line.split(' ')[0])
  t.equal(there, back, `${name}: read back`)
  t.equal(there, hashOf(join(share.path, name)), `${name}: on the host`)
}

/** MiB that are free in a zone of the guest's memory. */
async function freeMib(guest: Guest, zone: 'DMA32' | 'Normal'): Promise<number> {
  const info = await guest.output('cat /proc/zoneinfo')
  const pages = new RegExp(`zone +${zone}\\n +pages free +(\\d+)`).exec(info)?.[1]
  return (Number(pages) * 4096) / 2 ** 20
}

t.test('6 GiB: data from below and above 4 GiB arrives', async (t) => {
  const shares = [await serve(t, 'cached'), await serve(t, 'direct', ['--cache', 'never'])]
  const guest = await bootWith(t, shares, { memoryMiB: LARGE_MIB })
  await guest.output('mkdir /ram && mount -t tmpfs -o size=5800M ram /ram')
  t.ok((await freeMib(guest, 'Normal')) > 2_000, 'there is memory above 4 GiB')
  // The kernel gives memory above 4 GiB first (zone Normal), and below when that is used up.
  for (const share of shares) await copyBothWays(t, guest, share, 'high')
  for (let n = 0; n < PIECES && (await freeMib(guest, 'Normal')) > 100; n++) {
    await guest.output(`dd if=/dev/zero of=/ram/fill-${n} bs=1M count=${PIECE_MIB} 2>/dev/null`, {
      timeoutMs: LONG_MS,
    })
  }
  t.ok((await freeMib(guest, 'Normal')) < 100, 'memory above 4 GiB is used up')
  for (const share of shares) await copyBothWays(t, guest, share, 'low')
  await expectQuietKernel(t, guest)
  await guest.shutdown()
})

t.test('memory is plugged in while requests are under way', async (t) => {
  const share = await serve(t, 'files')
  const guest = await bootWith(t, [share], { memoryMiB: 512, maxMemoryMiB: 4096, programs: ['fio'] })
  const memory = async () => Number(/MemTotal: +(\d+)/.exec(await guest.output('cat /proc/meminfo'))?.[1])
  const before = await memory()
  const load = guest.spawn(
    'fio --name=job --directory=/files --size=8M --rw=randrw --bs=16k --verify=crc32c --verify_fatal=1 --time_based \
      --runtime=12 --numjobs=2 --thread --output-format=terse',
    { timeoutMs: LONG_MS },
  )
  for (let n = 0; n < 4; n++) {
    await guest.output('sleep 1')
    await guest.addMemory(512)
  }
  while ((await memory()) < before + 2_000_000) await guest.output('sleep 0.2')
  const { status, stderr } = await load.result
  t.equal(status, 0, `fio verified what it wrote: ${stderr}`)
  // More than the first memory has, so that pages of the plugged memory carry data, too.
  await guest.output('mkdir /ram && mount -t tmpfs -o size=2000M ram /ram')
  await guest.output('dd if=/dev/zero of=/ram/fill bs=1M count=900 2>/dev/null', { timeoutMs: LONG_MS })
  await copyBothWays(t, guest, share, 'plugged')
  await expectQuietKernel(t, guest)
  await guest.shutdown()
})

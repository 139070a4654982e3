/** fio writes, reads back and verifies, with every engine and cache policy, on every kernel. */
import { join } from 'node:path'
import t from 'tap'
import type { Guest } from '../../vm/guest/guest.js'
import {
  bootWith,
  expectQuietKernel,
  hashOf,
  pairs,
  type SharedDirectory,
  serve,
} from '../support/host/real-guest.js'

const FIO_TIMEOUT_MS = 180_000

t.setTimeout(1_100_000)

interface Job {
  readonly name: string
  readonly options: string
  /** Needs a shared mapping. */
  readonly mapped?: true
}

const jobs: readonly Job[] = [
  { name: 'buffered, sequential', options: '--ioengine=psync --rw=write --bs=128k' },
  { name: 'buffered, random', options: '--ioengine=psync --rw=randwrite --bs=4k' },
  { name: 'direct, sequential', options: '--ioengine=psync --direct=1 --rw=write --bs=1M' },
  {
    name: 'direct, random, deep',
    options: '--ioengine=libaio --iodepth=16 --direct=1 --rw=randwrite --bs=4k',
  },
  { name: 'mmap, random', options: '--ioengine=mmap --rw=randwrite --bs=4k', mapped: true },
]

const policies = [
  { tag: 'auto', args: ['--cache', 'auto'], maps: 'always' },
  { tag: 'always', args: ['--cache', 'always', '--writeback'], maps: 'always' },
  { tag: 'never', args: ['--cache', 'never', '--parallel-dio', '--allow-mmap'], maps: 'when allowed' },
  { tag: 'host-direct', args: ['--cache', 'auto', '--allow-direct-io'], maps: 'always' },
] as const

async function runJob(guest: Guest, tag: string, { name, options }: Job): Promise<{ errors: number }> {
  const file = `/${tag}/${name.replaceAll(/\W+/g, '-')}`
  const command = `fio --name=job --filename=${file} --size=4M --verify=crc32c --verify_fatal=1 --do_verify=1 \
    --output-format=json --thread ${options}`
  const { jobs } = JSON.parse(await guest.output(command, { timeoutMs: FIO_TIMEOUT_MS })) as {
    jobs: { error: number; write: { io_bytes: number }; read: { io_bytes: number } }[]
  }
  const [job] = jobs
  if (job === undefined || job.write.io_bytes === 0 || job.read.io_bytes === 0) {
    throw new Error(`${name}: fio wrote or verified nothing`)
  }
  return { errors: job.error }
}

for (const { kernel, qemu } of pairs) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const shares: SharedDirectory[] = []
    for (const { tag, args } of policies) shares.push(await serve(t, tag, args))
    const guest = await bootWith(t, shares, { kernel, qemu, programs: ['fio'] })
    for (const { tag, maps } of policies) {
      for (const job of jobs) {
        // Before 6.6 a guest cannot map files of direct-io opens shared.
        if (job.mapped && maps === 'when allowed' && kernel === '6.1') continue
        t.same(await runJob(guest, tag, job), { errors: 0 }, `${tag}: ${job.name}`)
      }
    }
    await guest.output('sync')
    for (const { tag, path } of shares) {
      const [sum] = (await guest.output(`sha256sum /${tag}/buffered-random`)).split(' ')
      t.equal(hashOf(join(path, 'buffered-random')), sum, `${tag}: both sides read the same`)
    }
    await expectQuietKernel(t, guest)
    await guest.shutdown()
  })
}

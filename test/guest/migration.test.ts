/**
 * Guests move between two QEMUs and two of our devices while they work. A model in the guest checks the contents of
 * files, and the host tries to take the guest's locks. MIGRATIONS sets how often each guest moves.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { DeviceProcess } from '../../vm/device/device-process.js'
import { attemptLock } from '../support/host/lock-attempt.js'
import { bootWith, expectQuietKernel, type SharedDirectory, serve } from '../support/host/real-guest.js'

const MIGRATIONS = Number(process.env['MIGRATIONS'] ?? 3)
/** A migration on a busy machine without KVM; the work in the guest lasts longer than all of them. */
const SECONDS_EACH = 25

t.setTimeout(600_000 + MIGRATIONS * 120_000)

const policies = [
  { tag: 'never', args: ['--cache', 'never', '--allow-mmap'] },
  { tag: 'auto', args: ['--cache', 'auto'] },
  { tag: 'always', args: ['--cache', 'always'] },
  { tag: 'writeback', args: ['--cache', 'auto', '--writeback'] },
] as const

const COMMON = ['--posix-lock', '--flock', '--keep-alive']

/** Serves the directory of a share by another device. */
async function servedAgain(t: Test, share: SharedDirectory, args: readonly string[]): Promise<DeviceProcess> {
  const device = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: share.path, args: [...args] })
  t.teardown(() => device.stop())
  return device
}

for (const { kernel, qemu } of [
  { kernel: '6.12', qemu: '10' },
  { kernel: '7', qemu: '11' },
]) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const shares: SharedDirectory[] = []
    const others: DeviceProcess[] = []
    for (const { tag, args } of policies) {
      const share = await serve(t, tag, [...args, ...COMMON])
      for (const kind of ['flock', 'fcntl']) writeFileSync(join(share.path, kind), '')
      shares.push(share)
      others.push(await servedAgain(t, share, [...args, ...COMMON]))
    }
    const guest = await bootWith(t, shares, { kernel, qemu })
    const locks = policies.flatMap(({ tag }) =>
      ['flock', 'fcntl'].map((kind) => guest.spawn(`lock-file ${kind} /${tag}/${kind} sleep 100000`)),
    )
    const work = policies.map(({ tag }, n) =>
      guest.spawn(`file-soak /${tag}/work ${n + 1} 1 ${MIGRATIONS * SECONDS_EACH}`),
    )
    const downtimes: number[] = []
    for (let n = 1; n <= MIGRATIONS; n++) {
      await sleep(1000)
      const there = n % 2 === 1 ? others : shares.map(({ device }) => device)
      const { downtimeMs } = await guest.migrate(
        there.map(({ socketPath }) => socketPath),
        qemu,
      )
      downtimes.push(downtimeMs)
      await sleep(1000)
      for (const { path, tag } of shares) {
        t.equal(attemptLock('flock', join(path, 'flock')), 'busy', `${tag}: flock after migration ${n}`)
        t.equal(attemptLock('fcntl', join(path, 'fcntl')), 'busy', `${tag}: record lock after migration ${n}`)
      }
    }
    t.comment(`${MIGRATIONS} migrations; milliseconds between stop and go: ${downtimes.join(', ')}`)
    for (const [n, { tag }] of policies.entries()) {
      const { status, stderr } = await work[n]!.result
      t.equal(status, 0, `${tag}: every file was what it had to be ${stderr}`)
    }
    for (const lock of locks) lock.kill(9)
    for (const { tag } of policies) await guest.output(`echo on >/${tag}/end && cat /${tag}/end && sync`)
    await expectQuietKernel(t, guest)
  })
}

t.test('a migration that fails leaves the guest where it is', async (t) => {
  const share = await serve(t, 'share', ['--cache', 'auto', ...COMMON])
  writeFileSync(join(share.path, 'file'), 'first')
  const guest = await bootWith(t, [share], { kernel: '6.12', qemu: '10' })
  await guest.output('exec 9</share/file; sleep 100000 <&9 >/dev/null 2>&1 & echo started')
  const strict = await servedAgain(t, share, ['--cache', 'auto', '--writeback', ...COMMON])
  await t.rejects(guest.migrate([strict.socketPath], '10'), /migration failed/)
  t.equal(await guest.output('cat /share/file'), 'first')

  // Another file in its place is refused, and never read instead of the guest's.
  writeFileSync(join(share.path, 'new'), 'other')
  renameSync(join(share.path, 'new'), join(share.path, 'file'))
  const other = await servedAgain(t, share, ['--cache', 'auto', ...COMMON])
  await t.rejects(guest.migrate([other.socketPath], '10'), /migration failed/)
  t.equal(await guest.output('echo on >/share/more && cat /share/more'), 'on\n')
  const lenient = await servedAgain(t, share, [
    '--cache',
    'auto',
    '--migration-on-error',
    'guest-error',
    ...COMMON,
  ])
  await guest.migrate([lenient.socketPath], '10')
  t.equal(await guest.output('sleep 2; cat /share/file /share/more'), 'otheron\n')
  await expectQuietKernel(t, guest)
})

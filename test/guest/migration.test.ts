/**
 * Guests move between two QEMUs and two of our devices while they work. A model in the guest checks the contents of
 * files, and the host tries to take the guest's locks. MIGRATIONS sets how often each guest moves.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { DeviceProcess } from '../../vm/device/device-process.js'
import { COMMON, GuestAtWork, policies, serveEach } from '../support/host/guest-at-work.js'
import { bootWith, expectQuietKernel, newerPairs, serve, serveAgain } from '../support/host/real-guest.js'

const MIGRATIONS = Number(process.env['MIGRATIONS'] ?? 3)
/** A migration on a busy machine without KVM; the work in the guest lasts longer than all of them. */
const SECONDS_EACH = 25

t.setTimeout(600_000 + MIGRATIONS * 120_000)

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const shares = await serveEach(t)
    const others: DeviceProcess[] = []
    for (const [n, { args }] of policies.entries())
      others.push(await serveAgain(t, shares[n]!.path, [...args, ...COMMON]))
    const guest = await bootWith(t, shares, { kernel, qemu })
    const work = new GuestAtWork(guest, shares, MIGRATIONS * SECONDS_EACH)
    await work.begun()
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
      await work.expectHeld(t, `after migration ${n}`)
    }
    t.comment(`${MIGRATIONS} migrations; milliseconds between stop and go: ${downtimes.join(', ')}`)
    await work.finish(t)
    for (const { tag } of policies) await guest.output(`echo on >/${tag}/end && cat /${tag}/end && sync`)
    await expectQuietKernel(t, guest)
  })
}

t.test('a migration that fails leaves the guest where it is', async (t) => {
  const share = await serve(t, 'share', ['--cache', 'auto', ...COMMON])
  writeFileSync(join(share.path, 'file'), 'first')
  const guest = await bootWith(t, [share], { kernel: '6.12', qemu: '10' })
  await guest.output('exec 9</share/file; sleep 100000 <&9 >/dev/null 2>&1 & echo started')
  const strict = await serveAgain(t, share.path, ['--cache', 'auto', '--writeback', ...COMMON])
  await t.rejects(guest.migrate([strict.socketPath], '10'), /migration failed/)
  t.equal(await guest.output('cat /share/file'), 'first')

  // Another file in its place is refused, and never read instead of the guest's.
  writeFileSync(join(share.path, 'new'), 'other')
  renameSync(join(share.path, 'new'), join(share.path, 'file'))
  const other = await serveAgain(t, share.path, ['--cache', 'auto', ...COMMON])
  await t.rejects(guest.migrate([other.socketPath], '10'), /migration failed/)
  t.equal(await guest.output('echo on >/share/more && cat /share/more'), 'on\n')
  const lenient = await serveAgain(t, share.path, [
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

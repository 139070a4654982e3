/**
 * Devices that are replaced by other processes while a guest works: contents that a model of them in the guest checks, and
 * locks that the host tries to take. REPLACEMENTS sets how often each device is replaced.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { servingPidOf } from '../../vm/device/serving-pid.js'
import { ControlClient } from '../support/device/control-client.js'
import { GuestAtWork, serveEach } from '../support/host/guest-at-work.js'
import { bootWith, expectQuietKernel, newerPairs, type SharedDirectory } from '../support/host/real-guest.js'
import { tempDir } from '../support/host/temp-dir.js'

const REPLACEMENTS = Number(process.env['REPLACEMENTS'] ?? 6)
/** The work in the guest lasts longer than all replacements of all devices on a busy machine. */
const SECONDS_EACH = 15
const NAMES = 300

t.setTimeout(900_000 + REPLACEMENTS * 120_000)

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const place = tempDir(t)
    const control = (tag: string) => join(place, tag)
    const shares = await serveEach(t, (tag) => ['--control-socket', control(tag)])
    const replace = async ({ tag }: SharedDirectory) => {
      const changes = await ControlClient.connect(t, `${control(tag)}.live`)
      await changes.ask('replace')
      changes.socket.destroy()
    }
    const guest = await bootWith(t, shares, { kernel, qemu })
    const work = new GuestAtWork(guest, shares, REPLACEMENTS * SECONDS_EACH)
    const unlinked = shares.map(({ tag }) =>
      guest.spawn(`cd /${tag} && exec 9<>gone && rm gone && echo first >&9
        while ! [ -e go ]; do sleep 0.2; done; echo second >&9; cat /proc/self/fd/9`),
    )
    await sleep(1000)
    const fds = new Map<string, number[]>()
    for (let n = 1; n <= REPLACEMENTS; n++) {
      for (const share of shares) {
        const { tag, device } = share
        await replace(share)
        const held = readdirSync(`/proc/${servingPidOf(device.pid)}/fd`).length
        fds.set(tag, [...(fds.get(tag) ?? []), held])
        await work.expectHeld(t, `after replacement ${n} of ${tag}`)
      }
    }
    for (const [tag, counts] of fds) t.comment(`${tag}: descriptors ${counts.join(' ')}`)
    for (const { tag, device } of shares) {
      const pauses = device.log.flatMap((line) => /"pauseMs":(\d+)/.exec(line)?.[1] ?? [])
      t.comment(`${tag}: pauses in ms ${pauses.join(' ')}`)
    }
    for (const { path } of shares) writeFileSync(join(path, 'go'), '')
    await work.finish(t)
    for (const [n, { tag }] of shares.entries()) {
      const gone = await unlinked[n]!.result
      t.equal(
        `${Buffer.from(gone.stdout)}`,
        'first\nsecond\n',
        `${tag}: an open file without a name ${gone.stderr}`,
      )
    }
    for (const { path, tag } of shares) {
      for (let n = 0; n < NAMES; n++) writeFileSync(join(path, `name-${n}`), '')
      t.equal(await guest.output(`ls /${tag} | grep -c name-`), `${NAMES}\n`)
    }
    await expectQuietKernel(t, guest)
  })
}

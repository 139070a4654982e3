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
import { attemptLock } from '../support/host/lock-attempt.js'
import { bootWith, expectQuietKernel, type SharedDirectory, serve } from '../support/host/real-guest.js'
import { tempDir } from '../support/host/temp-dir.js'

const REPLACEMENTS = Number(process.env['REPLACEMENTS'] ?? 6)
/** The work in the guest lasts longer than all replacements of all devices on a busy machine. */
const SECONDS_EACH = 15
const NAMES = 300

t.setTimeout(900_000 + REPLACEMENTS * 120_000)

const policies = [
  { tag: 'never', args: ['--cache', 'never', '--allow-mmap'] },
  { tag: 'auto', args: ['--cache', 'auto'] },
  { tag: 'always', args: ['--cache', 'always'] },
  { tag: 'writeback', args: ['--cache', 'auto', '--writeback'] },
] as const

const COMMON = ['--posix-lock', '--flock', '--keep-alive']

for (const { kernel, qemu } of [
  { kernel: '6.12', qemu: '10' },
  { kernel: '7', qemu: '11' },
]) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const place = tempDir(t)
    const shares: SharedDirectory[] = []
    const control = (tag: string) => join(place, tag)
    for (const { tag, args } of policies) {
      const share = await serve(t, tag, [...args, ...COMMON, '--control-socket', control(tag)])
      for (const kind of ['flock', 'fcntl']) writeFileSync(join(share.path, kind), '')
      shares.push(share)
    }
    const replace = async ({ tag }: SharedDirectory) => {
      const changes = await ControlClient.connect(t, `${control(tag)}.live`)
      await changes.ask('replace')
      changes.socket.destroy()
    }
    const guest = await bootWith(t, shares, { kernel, qemu })
    const locks = policies.flatMap(({ tag }) =>
      ['flock', 'fcntl'].map((kind) => guest.spawn(`lock-file ${kind} /${tag}/${kind} sleep 100000`)),
    )
    const unlinked = policies.map(({ tag }) =>
      guest.spawn(`cd /${tag} && exec 9<>gone && rm gone && echo first >&9
        while ! [ -e go ]; do sleep 0.2; done; echo second >&9; cat /proc/self/fd/9`),
    )
    const work = policies.map(({ tag }, n) =>
      guest.spawn(`file-soak /${tag}/work ${n + 1} 1 ${REPLACEMENTS * SECONDS_EACH}`),
    )
    await sleep(1000)
    const fds = new Map<string, number[]>()
    for (let n = 1; n <= REPLACEMENTS; n++) {
      for (const share of shares) {
        const { path, tag, device } = share
        await replace(share)
        const held = readdirSync(`/proc/${servingPidOf(device.pid)}/fd`).length
        fds.set(tag, [...(fds.get(tag) ?? []), held])
        for (const kind of ['flock', 'fcntl'] as const)
          t.equal(attemptLock(kind, join(path, kind)), 'busy', `${tag}: ${kind} after replacement ${n}`)
      }
    }
    for (const [tag, counts] of fds) t.comment(`${tag}: descriptors ${counts.join(' ')}`)
    for (const { tag, device } of shares) {
      const pauses = device.log.flatMap((line) => /"pauseMs":(\d+)/.exec(line)?.[1] ?? [])
      t.comment(`${tag}: pauses in ms ${pauses.join(' ')}`)
    }
    for (const { path } of shares) writeFileSync(join(path, 'go'), '')
    for (const [n, { tag }] of policies.entries()) {
      const soak = await work[n]!.result
      t.equal(soak.status, 0, `${tag}: every file was what it had to be ${soak.stderr}`)
      const gone = await unlinked[n]!.result
      t.equal(
        `${Buffer.from(gone.stdout)}`,
        'first\nsecond\n',
        `${tag}: an open file without a name ${gone.stderr}`,
      )
    }
    for (const lock of locks) lock.kill(9)
    for (const { path, tag } of shares) {
      for (let n = 0; n < NAMES; n++) writeFileSync(join(path, `name-${n}`), '')
      t.equal(await guest.output(`ls /${tag} | grep -c name-`), `${NAMES}\n`)
    }
    await expectQuietKernel(t, guest)
  })
}

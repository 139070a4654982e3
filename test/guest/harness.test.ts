/**
 * Tests the harness in vm/ alone: real kernels boot, commands run, and guests that hang are ended. The Rust virtiofsd
 * serves the share, so that a failure here is never one of our device.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { DeviceProcess } from '../../vm/device/device-process.js'
import { clockRateKhz } from '../../vm/guest/clock-rate.js'
import { bootGuest, type Guest, GuestError, type GuestOptions } from '../../vm/guest/guest.js'

const BOOTS: [kernel: string, qemu: string, release: RegExp][] = [
  ['6.1', '7.2', /^6\.1\./],
  ['6.12', '10', /^6\.12\./],
  ['7', '11', /^7\./],
]
const GIB_IN_KIB = 1024 * 1024

t.setTimeout(900_000)

/** A guest that is ended with the test, however the test ends. */
async function boot(t: Test, options: GuestOptions): Promise<Guest> {
  const guest = await bootGuest({ memoryMiB: 256, ...options })
  t.teardown(() => guest.kill())
  t.comment(`Linux ${guest.kernelRelease} on ${guest.accelerator}, up in ${guest.bootMs.toFixed(0)} ms`)
  return guest
}

async function startPeer(t: Test): Promise<{ device: DeviceProcess; dir: string }> {
  const dir = mkdtempSync(join(tmpdir(), 'harness-share-'))
  const device = await DeviceProcess.start({ device: 'virtiofsd-1.14', sharedDir: dir })
  t.teardown(async () => {
    await device.stop()
    rmSync(dir, { recursive: true, force: true })
  })
  return { device, dir }
}

for (const [kernel, qemu, release] of BOOTS) {
  t.test(`Linux ${kernel} on QEMU ${qemu} mounts a share, restarts and powers off`, async (t) => {
    const { device, dir } = await startPeer(t)
    const shares = [{ tag: 'a,b', socketPath: device.socketPath }]
    const guest = await boot(t, { kernel, qemu, shares })
    t.match(guest.kernelRelease, release)
    t.equal(await guest.output('nproc'), '2\n', 'both processors are up')

    await guest.mount('a,b')
    writeFileSync(join(dir, 'from-host'), 'host')
    t.equal(await guest.output('cat /mnt/from-host'), 'host')
    await guest.output('printf guest > /mnt/from-guest')
    t.equal(readFileSync(join(dir, 'from-guest'), 'utf8'), 'guest')
    await guest.output('umount /mnt')

    const restarted = guest.reboot()
    await t.rejects(guest.run('true'), /the guest restarts/, 'no command meanwhile')
    await restarted
    t.match(guest.kernelRelease, release)
    const uptime = Number.parseFloat(await guest.output('cat /proc/uptime'))
    t.ok(uptime < 30, `the kernel has just started: up ${uptime} s`)
    await guest.mount('a,b')
    t.equal(await guest.output('cat /mnt/from-host'), 'host', 'the device is still there')

    const log = await guest.kernelLog()
    t.ok(log.length > 100, `${log.length} kernel messages`)
    t.ok(log.some(({ text }) => text.startsWith('Linux version')))
    await guest.shutdown()
    t.same(await guest.exited, { status: 0, signal: null })
    await t.rejects(guest.run('true'), GuestError, 'a guest that is off takes no command')
  })
}

t.test('commands', async (t) => {
  const guest = await boot(t, { programs: ['fio'], memoryMiB: 512 })

  t.test('report status, signal, both outputs and time', async (t) => {
    const failed = await guest.run('echo out; echo err >&2; exit 3')
    t.match(failed, { status: 3, signal: null, stdout: Buffer.from('out\n'), stderr: Buffer.from('err\n') })
    t.match(await guest.run('kill -9 $$'), { status: null, signal: 9 })
    const slept = await guest.run('sleep 0.5')
    t.ok(slept.ms >= 500 && slept.ms < 5_000, `sleep 0.5 took ${slept.ms} ms`)
    await t.rejects(guest.output('echo why >&2; false'), /status 1 from: echo why.*\nwhy/s)
  })

  t.test('carry every byte both ways', async (t) => {
    const bytes = Buffer.from(Array.from({ length: 256 * 1024 }, (_, i) => (i * 31 + (i >> 8)) & 0xff))
    const { stdout } = await guest.run('cat', { stdin: bytes })
    t.ok(stdout.equals(bytes), '256 KiB through cat')
    t.equal((await guest.run('wc -c', { stdin: '' })).stdout.toString().trim(), '0', 'an empty input ends')
    await t.rejects(guest.run(`: ${'x'.repeat(20_000)}`), /too long/)
  })

  t.test('run side by side, and one can be ended', async (t) => {
    const sleeper = guest.spawn('sleep 1000')
    const started = performance.now()
    const outputs = await Promise.all([1, 2, 3, 4].map((n) => guest.output(`sleep 1; echo ${n}`)))
    t.same(outputs, ['1\n', '2\n', '3\n', '4\n'])
    t.ok(performance.now() - started < 4_000, 'four sleeps of a second at once')
    sleeper.kill()
    t.match(await sleeper.result, { signal: 15 })
  })

  t.test('end at their time limit, with the console in the error, and the guest lives on', async (t) => {
    await guest.output('echo last words > /dev/kmsg')
    await t.rejects(guest.run('sleep 1000', { timeoutMs: 500 }), {
      name: 'GuestError',
      message: /no end after 500 ms of: sleep 1000.*last words/s,
    })
    t.equal(await guest.output('echo alive'), 'alive\n')
    t.equal(await guest.output('pgrep sleep || true'), '')
  })

  t.test('of 65 at once the last is refused', async (t) => {
    const sleepers = Array.from({ length: 64 }, () => guest.spawn('sleep 1000'))
    await t.rejects(guest.run('true'), /too many commands at once/)
    for (const { kill } of sleepers) kill()
    await Promise.all(sleepers.map(({ result }) => result))
  })

  t.test('answer line by line, until they end', async (t) => {
    const cat = guest.converse('exec cat')
    t.same(await Promise.all(['one', 'zwölf', 'three'].map((line) => cat.ask(line))), [
      'one',
      'zwölf',
      'three',
    ])
    const asked = guest.converse('echo why >&2; exit 1').ask('anything')
    await t.rejects(asked, /has ended: why/)
    await cat.kill()
    await t.rejects(cat.ask('four'), /exec cat has ended/)
  })

  t.test('keep still until all their threads sleep in the kernel', async (t) => {
    const actor = guest.converse('exec io-actor')
    const ask = async (line: string) => JSON.parse(await actor.ask(line))
    await guest.output('mkfifo /tmp/fifo')
    t.same(await ask('start open r 0 /tmp/fifo'), { value: 0 })
    t.match(await ask('settle 0'), { ended: 0, waiting: { wait_for_partner: 1 } })
    t.same(await ask('open w 1 /tmp/fifo'), { value: 0 })
    t.same(await ask('settle 1'), { ended: 1, waiting: {} })
    t.same(await ask('join'), { results: [{ value: 0 }] })
    t.same(await ask('open w 1 /tmp/fifo'), { error: 'EEXIST' })
    await actor.kill()
  })

  t.test('give each of many files that are opened at once a name of its own', async (t) => {
    const actor = guest.converse('exec io-actor')
    const ask = async (line: string) => JSON.parse(await actor.ask(line))
    const names = Array.from({ length: 30 }, (_, n) => `f${n}`)
    await Promise.all(names.map((name) => ask(`start open ${name} 0 /init`)))
    const { results } = await ask('join')
    t.same(
      results,
      names.map(() => ({ value: 0 })),
    )
    const again = await Promise.all(names.map((name) => ask(`open ${name} 0 /init`)))
    t.same(
      again,
      names.map(() => ({ error: 'EEXIST' })),
    )
    await actor.kill()
  })

  t.test('have fio', async (t) => {
    const job = '--name=a --filename=/tmp/f --size=1m --rw=randwrite --verify=crc32c --output-format=json'
    const { jobs } = JSON.parse(await guest.output(`fio ${job}`)) as {
      jobs: { error: number; read: { io_bytes: number } }[]
    }
    t.match(jobs, [{ error: 0, read: { io_bytes: 1 << 20 } }])
  })
})

/** The rate of the guest's clock, in seconds of the host: it lies between the two. */
async function rateOf(guest: Guest): Promise<[low: number, high: number]> {
  const look = async () => {
    const beforeMs = performance.now()
    const [uptime] = (await guest.output('cat /proc/uptime')).split(' ')
    return { beforeMs, uptimeMs: Number(uptime) * 1000, afterMs: performance.now() }
  }
  const first = await look()
  await sleep(CLOCK_MS)
  const second = await look()
  const passedMs = second.uptimeMs - first.uptimeMs
  return [
    (passedMs - UPTIME_STEP_MS) / (second.afterMs - first.beforeMs),
    (passedMs + UPTIME_STEP_MS) / (second.beforeMs - first.afterMs),
  ]
}

const CLOCK_MS = 2_000
/** /proc/uptime has hundredths of a second. */
const UPTIME_STEP_MS = 10

t.test('an emulated guest goes by the rate of the clock that it is told', async (t) => {
  const khz = await clockRateKhz()
  t.ok(khz > 100_000 && khz < 10_000_000, `${khz} kHz`)
  const guests: [kernelArgs: string[], rate: number][] = [
    [[], 1],
    [[`tsc_early_khz=${2 * khz}`], 0.5],
  ]
  for (const [kernelArgs, rate] of guests) {
    const guest = await boot(t, { kernel: '6.1', accelerator: 'tcg', kernelArgs })
    t.match(await guest.output('cat /proc/cmdline'), ` tsc_early_khz=${khz}`)
    const [low, high] = await rateOf(guest)
    t.ok(low < rate && rate < high, `${rate} lies between ${low} and ${high}`)
    await guest.kill()
  }
})

t.test('a guest with less memory than its image needs is refused', async (t) => {
  await t.rejects(bootGuest({ programs: ['fio'], memoryMiB: 256 }), /256 MiB are too few .* needs \d+ MiB/)
})

t.test('a guest that hangs is ended, while it runs a command and while it powers off', async (t) => {
  const runs = await boot(t, {})
  await runs.qmp.execute('stop')
  await t.rejects(runs.run('true', { timeoutMs: 100 }), {
    name: 'GuestError',
    message: /stopped answering during: true/,
  })
  t.match(await runs.exited, { signal: 'SIGKILL' })

  const powersOff = await boot(t, {})
  await powersOff.qmp.execute('stop')
  await t.rejects(powersOff.shutdown(300), {
    name: 'GuestError',
    message: /did not switch itself off within 300 ms/,
  })
})

t.test('a kernel without a driver for virtio-serial is reached by a serial port', async (t) => {
  const guest = await boot(t, { kernelArgs: ['initcall_blacklist=virtio_console_init'] })
  t.equal(await guest.output('ls /dev/vport* 2>/dev/null || echo none'), 'none\n')
  const bytes = Buffer.from(Array.from({ length: 8 * 1024 }, (_, i) => i & 0xff))
  const { stdout } = await guest.run('cat', { stdin: bytes })
  t.ok(stdout.equals(bytes), '8 KiB through cat')
})

t.test('a command that hangs inside the kernel ends the guest, with the place where it hangs', async (t) => {
  const { device } = await startPeer(t)
  const guest = await boot(t, { shares: [{ tag: 'share', socketPath: device.socketPath }] })
  await guest.mount('share')
  device.signal('SIGSTOP')
  t.teardown(() => device.signal('SIGCONT'))
  await t.rejects(guest.run('ls /mnt', { timeoutMs: 500 }), {
    name: 'GuestError',
    message: /it hangs in the guest's kernel:.*fuse/s,
  })
  t.match(await guest.exited, { signal: 'SIGKILL' })
})

t.test('a kernel that panics fails the command in flight, with the panic in the error', async (t) => {
  const guest = await boot(t, {})
  const error = await guest.run('echo c > /proc/sysrq-trigger; sleep 60').catch((error: unknown) => error)
  t.match(error, { name: 'GuestError', message: /restarted by itself.*Kernel panic/s })
  t.match(await guest.exited, { signal: 'SIGKILL' })
})

t.test('a boot that hangs is ended, with the console in the error', async (t) => {
  const hanging = bootGuest({ memoryMiB: 256, kernelArgs: ['rdinit=/bin/cat'], bootTimeoutMs: 20_000 })
  await t.rejects(hanging, { name: 'GuestError', message: /boot took more than 20000 ms.*Run \/bin\/cat/s })
})

t.test('a guest has 6 GiB of memory, gets more plugged in, and answers QMP', async (t) => {
  const guest = await boot(t, { memoryMiB: 6 * 1024, maxMemoryMiB: 8 * 1024 })
  const memTotal = async (): Promise<number> =>
    Number(await guest.output("awk '/MemTotal/ { print $2 }' /proc/meminfo"))
  const beforeKiB = await memTotal()
  t.ok(beforeKiB > 5.5 * GIB_IN_KIB, `${beforeKiB} KiB`)

  await guest.addMemory(1024)
  await t.resolves(waitUntil(async () => (await memTotal()) > beforeKiB + 0.9 * GIB_IN_KIB))

  t.match(await guest.qmp.execute('query-status'), { status: 'running' })
  await guest.qmp.execute('stop')
  t.match(await guest.qmp.execute('query-status'), { status: 'paused' })
  await guest.qmp.execute('cont')
  t.equal(await guest.output('echo running'), 'running\n')
  await t.rejects(guest.qmp.execute('no-such-command'), /no-such-command/)
})

t.test('what a guest cannot have is refused in one line', async (t) => {
  const refused = (message: RegExp) => ({ name: 'SetupError', message })
  await t.rejects(bootGuest({ kernel: '/nowhere/bzImage' }), refused(/^no kernel \/nowhere\/bzImage.*$/))
  await t.rejects(bootGuest({ qemu: '1.0' }), refused(/^no QEMU 1\.0.*$/))
  await t.rejects(bootGuest({ modules: ['no_such'] }), refused(/^the kernel has no module no_such.*$/))
  await t.rejects(bootGuest({ cpus: 100_000 }), refused(/^QEMU ended with status 1 \| .*CPUs.*$/))
  const sharedDir = '/nowhere'
  await t.rejects(
    DeviceProcess.start({ device: 'virtiofsd-1.14', sharedDir }),
    refused(/^virtiofsd-1\.14 ended.*$/),
  )
})

async function waitUntil(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (await condition()) return
    await sleep(100)
  }
  throw new Error('it did not come true within 10 s')
}

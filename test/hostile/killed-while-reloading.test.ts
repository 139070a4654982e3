/** The process, or the helper that changes it, is killed at any moment of a reload, and leaves nothing behind. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { textOf } from '../../vm/host/text-of.js'
import { isRoot } from '../support/device/cases.js'
import { ControlClient } from '../support/device/control-client.js'
import { Device, sleep } from '../support/device/device.js'
import { until } from '../support/device/live-device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { processesOf } from '../support/host/processes.js'
import { tempDir } from '../support/host/temp-dir.js'
import { Random } from '../support/random.js'

t.setTimeout(300_000)

const MOMENTS = 12
/** About the time of a reload; on a busy machine a reload takes much longer. */
const SPREAD_MS = 500
const sandbox = isRoot ? 'namespace' : 'none'

const shareOf = (place: string, name: string) =>
  `[[share]]\ntag = "${name}"\nshared-dir = "${place}/${name}"\nsocket-path = "${place}/run/${name}.sock"\n`

async function start(t: Test) {
  const place = tempDir(t)
  for (const name of ['run', 'a', 'b', 'c']) mkdirSync(join(place, name))
  const path = join(place, 'shares.toml')
  writeFileSync(path, shareOf(place, 'a'))
  const args = ['--keep-alive', '--config', path, '--control-socket', join(place, 'run', 'control')]
  const device = await Device.start(t, args, { sandbox })
  return { place, path, device, runs: () => readdirSync(join(place, 'run')).sort() }
}

/** The helpers that change a process. The launcher's arguments name their script, too. */
function helpersOf(place: string): readonly number[] {
  return processesOf(place).filter((pid) => {
    const words = textOf(`/proc/${pid}/cmdline`)
    return words.startsWith(process.execPath) && words.includes('helper.js')
  })
}

function brokerOf(place: string, device: Device): number {
  const broker = processesOf(place).find((pid) => {
    const words = textOf(`/proc/${pid}/cmdline`)
    return /^[^\0]*launcher\0--sandbox/.test(words) && pid !== device.outerPid
  })
  if (broker === undefined) throw new Error('there is no broker')
  return broker
}

/** Those that have ended and were not waited for, too. */
const childrenOf = (pid: number) =>
  textOf(`/proc/${pid}/task/${pid}/children`).trim().split(' ').filter(Boolean).map(Number)

t.test('SIGTERM during a reload ends the process, and leaves no file', async (t) => {
  const random = new Random(17)
  for (let n = 0; n < MOMENTS; n++) {
    const { place, path, device, runs } = await start(t)
    writeFileSync(path, shareOf(place, 'b') + shareOf(place, 'c'))
    device.kill('SIGHUP')
    await sleep(random.below(SPREAD_MS))
    device.kill('SIGTERM')
    t.same(await device.exited(), { status: 0, signal: null })
    t.same(runs(), [], 'no file is left')
    await until(
      () => processesOf(place).length === 0,
      () => `processes are left: ${processesOf(place).join(' ')}`,
    )
  }
})

t.test('a socket that a helper is making when the process ends leaves no file', async (t) => {
  for (let n = 0; n < 4; n++) {
    const { place, path, device, runs } = await start(t)
    writeFileSync(path, shareOf(place, 'a') + shareOf(place, 'b'))
    device.kill('SIGHUP')
    await until(
      () => helpersOf(place).length > 0,
      () => 'there is no helper',
    )
    const helpers = helpersOf(place)
    while (!runs().includes('b.sock.pid')) {}
    // It holds the lock of this file, and may not have told the broker yet.
    for (const pid of helpers) process.kill(pid, 'SIGSTOP')
    device.kill('SIGTERM')
    t.same(await device.exited(), { status: 0, signal: null })
    t.same(runs(), [], 'no file is left')
  }
})

t.test('after SIGKILL of the helper all of the change has happened, or nothing', async (t) => {
  const random = new Random(18)
  const { place, path, device, runs } = await start(t)
  const control = await ControlClient.connect(t, join(place, 'run', 'control'))
  const names = async () =>
    (await control.ask<readonly { name: string }[]>('shares')).map(({ name }) => name).sort()
  const broker = brokerOf(place, device)
  for (let n = 0; n < MOMENTS; n++) {
    writeFileSync(path, shareOf(place, 'a') + shareOf(place, 'b') + shareOf(place, 'c'))
    device.kill('SIGHUP')
    await sleep(random.below(SPREAD_MS))
    for (const pid of helpersOf(place)) process.kill(pid, 'SIGKILL')
    await until(
      () => childrenOf(broker).length === 0,
      () => `a helper is left: ${childrenOf(broker)}`,
    )
    // The next change settles what the helper has left.
    writeFileSync(path, shareOf(place, 'a'))
    const changes = await ControlClient.connect(t, join(place, 'run', 'control.live'))
    t.match(await changes.ask('reload'), { added: [] })
    changes.socket.destroy()
    t.same(await names(), ['0', 'a'])
    t.same(runs(), ['a.sock', 'a.sock.pid', 'control', 'control.live', 'control.pid'])
  }
  mount(t, { socketPath: join(place, 'run', 'a.sock') }).getattr(ROOT_ID)
})

t.test(
  'after SIGKILL of a helper whose shares do not serve yet, the next reload removes their files',
  async (t) => {
    const { place, path, device, runs } = await start(t)
    const broker = brokerOf(place, device)
    writeFileSync(path, shareOf(place, 'a') + shareOf(place, 'b'))
    device.kill('SIGHUP')
    while (!runs().includes('b.sock')) {}
    process.kill(broker, 'SIGSTOP')
    // The helper has told the broker that the files are to stay, and waits for it now.
    await sleep(SPREAD_MS)
    for (const pid of childrenOf(broker)) process.kill(pid, 'SIGKILL')
    process.kill(broker, 'SIGCONT')
    await until(
      () => childrenOf(broker).length === 0,
      () => 'a helper is left',
    )
    writeFileSync(path, shareOf(place, 'a'))
    const changes = await ControlClient.connect(t, join(place, 'run', 'control.live'))
    t.match(await changes.ask('reload'), { added: [], removed: [] })
    t.same(runs(), ['a.sock', 'a.sock.pid', 'control', 'control.live', 'control.pid'])
  },
)

t.test('a helper that hangs is ended, and the next change is made', async (t) => {
  const { place, path, device } = await start(t)
  writeFileSync(path, shareOf(place, 'a') + shareOf(place, 'b'))
  device.kill('SIGHUP')
  await until(
    () => helpersOf(place).length > 0,
    () => 'there is no helper',
  )
  for (const pid of helpersOf(place)) process.kill(pid, 'SIGSTOP')
  const changes = await ControlClient.connect(t, join(place, 'run', 'control.live'))
  t.match(await changes.ask('reload'), { added: ['b'], removed: [] })
  mount(t, { socketPath: join(place, 'run', 'b.sock') }).getattr(ROOT_ID)
})

t.test('SIGKILL of the first process ends all the others', async (t) => {
  const random = new Random(19)
  for (let n = 0; n < 4; n++) {
    const { place, path, device, runs } = await start(t)
    writeFileSync(path, shareOf(place, 'b') + shareOf(place, 'c'))
    device.kill('SIGHUP')
    await sleep(random.below(SPREAD_MS))
    device.killOnPurpose()
    await device.exited()
    await until(
      () => runs().length === 0 && processesOf(place).length === 0,
      () => `left: ${runs().join(' ')}, processes ${processesOf(place).join(' ')}`,
    )
    t.pass('the broker has removed the files')
  }
})

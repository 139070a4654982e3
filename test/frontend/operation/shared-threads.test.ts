/** Shares that live together on a thread: each has its turn, and what becomes of one is no matter of the others. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ReportedShare } from '../../../src/control/share-reports.js'
import { Device, type DeviceOptions, sleep } from '../../support/device/device.js'
import { LiveDevice, until } from '../../support/device/live-device.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { type Call, EMPTY } from '../../support/fuse/fuse-client.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { concat, cstring, u32, u64 } from '../../support/fuse/fuse-wire.js'
import { attach, mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'
import { DiskImage } from '../../support/host/disk-image.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(120_000)

const O_RDWR = 2
const MIB = 1024 * 1024
const FLOOD = 100
/** A thread that is not held up answers within this time, on a busy machine, too. */
const SOON_MS = 1000
const ONE_THREAD = ['--share-threads', '1']

interface Share {
  readonly directory: string
  readonly socketPath: string
}

/** Makes a directory for a further share. Returns it with the options that share it. */
function further(t: Test, tag: string, words = ''): { share: Share; args: string[] } {
  const place = tempDir(t)
  const share = { directory: join(place, tag), socketPath: join(place, `${tag}.sock`) }
  mkdirSync(share.directory, { recursive: true })
  const options = `tag=${tag},path=${share.directory},socket=${share.socketPath}${words}`
  return { share, args: ['--share', options] }
}

function threadsOf({ pid }: Device): number {
  return readdirSync(`/proc/${pid}/task`).length
}

/** Has the share's thread make a directory. */
function startMkdir(fs: FuseGuest, name: string): Call {
  const args = concat(u32(0o755, 0), cstring(name))
  return fs.start({ opcode: Op.MKDIR, nodeid: ROOT_ID, args, reply: { argBytes: 128 } })
}

for (const sandbox of ['none', 'namespace'] as const)
  t.test(`--sandbox ${sandbox}: many shares need few threads, and each serves its guest`, async (t) => {
    const others = Array.from({ length: 6 }, (_, n) => further(t, `s${n}`))
    const options: DeviceOptions = { sandbox }
    const alone = threadsOf(await Device.start(t, ['--queue-threads', '1'], options))
    const args = others.flatMap((other) => other.args)
    const two = await Device.start(t, [...args, '--share-threads', '2'], options)
    t.equal(threadsOf(two), alone + 1)
    await two.stop()
    const device = await Device.start(t, [...args, ...ONE_THREAD], options)
    t.equal(threadsOf(device), alone)
    const shares = [device, ...others.map(({ share }) => share)]
    const guests = shares.map((share) => mount(t, share))
    for (let round = 0; round < 3; round++) {
      const calls = guests.map((fs) => startMkdir(fs, `made-${round}`))
      guests.forEach((fs, n) => {
        t.equal(fs.finish(), calls[n])
      })
      for (const { directory } of shares) t.ok(existsSync(join(directory, `made-${round}`)))
    }
    for (const fs of guests.slice(1)) fs.close()
    guests[0]?.mkdir(ROOT_ID, 'still-there')
  })

t.test('a share that has a thread to itself, whatever the others do', async (t) => {
  const others = [further(t, 'a'), further(t, 'b'), further(t, 'c', ',own-thread')]
  const args = [...others.flatMap((other) => other.args), ...ONE_THREAD]
  const alone = threadsOf(await Device.start(t, ['--queue-threads', '1']))
  t.equal(threadsOf(await Device.start(t, args)), alone + 1)
})

t.test('a flood of one share does not keep the others waiting', async (t) => {
  const other = further(t, 'other')
  const args = [...other.args, ...ONE_THREAD, '--thread-pool-size', '0']
  const device = await Device.start(t, args)
  writeFileSync(join(device.directory, 'file'), new Uint8Array(MIB))
  const flood = mount(t, device)
  const lone = mount(t, other.share)
  const { nodeid } = flood.lookup(ROOT_ID, 'file')
  const { handle } = flood.open(nodeid, 0)
  const answered: number[] = []
  for (let round = 0; round < 8; round++) {
    process.kill(device.pid, 'SIGSTOP')
    for (let n = 0; n < FLOOD; n++) flood.start(flood.readRequest(nodeid, handle, 0n, MIB))
    lone.start(lone.getattrRequest(ROOT_ID))
    process.kill(device.pid, 'SIGCONT')
    lone.finish()
    process.kill(device.pid, 'SIGSTOP')
    let before = 0
    while (flood.finishNow() !== undefined) before++
    process.kill(device.pid, 'SIGCONT')
    for (let n = before; n < FLOOD; n++) flood.finish()
    answered.push(before)
  }
  // On a busy machine this process may be late to look.
  t.ok(Math.min(...answered) < FLOOD, `${answered.join(', ')} of ${FLOOD} reads were answered before`)
})

/** Fills queues of a guest with reads, lets another guest ask for something, and counts the reads answered before it is. */
function readsBefore(
  device: Device,
  flood: FuseGuest,
  lone: FuseGuest,
  queues: readonly number[],
  each: number,
) {
  const { nodeid } = flood.lookup(ROOT_ID, 'file')
  const { handle } = flood.open(nodeid, 0)
  process.kill(device.pid, 'SIGSTOP')
  for (const queue of queues)
    for (let n = 0; n < each; n++) flood.start(flood.readRequest(nodeid, handle, 0n, MIB / 4), queue)
  lone.start(lone.getattrRequest(ROOT_ID))
  process.kill(device.pid, 'SIGCONT')
  lone.finish()
  process.kill(device.pid, 'SIGSTOP')
  let before = 0
  for (const queue of queues) while (flood.finishNow(queue) !== undefined) before++
  process.kill(device.pid, 'SIGCONT')
  return before
}

t.test('many queues of a share, or its first one, do not keep the others waiting', async (t) => {
  const other = further(t, 'other')
  const args = [...other.args, ...ONE_THREAD, '--thread-pool-size', '0', '--keep-alive']
  const device = await Device.start(t, args)
  writeFileSync(join(device.directory, 'file'), new Uint8Array(MIB))
  const lone = mount(t, other.share)
  const least = (requestQueues: number, queues: readonly number[], each: number) => {
    const counts = Array.from({ length: 3 }, () => {
      const flood = mount(t, device, { requestQueues, queueSize: requestQueues > 1 ? 32 : 1024 })
      const before = readsBefore(device, flood, lone, queues, each)
      flood.close()
      return before
    })
    t.comment(`${counts.join(', ')} of ${queues.length * each}`)
    return Math.min(...counts)
  }
  // On a busy machine this process may be late to look.
  const many = Array.from({ length: 60 }, (_, n) => n + 1)
  t.ok(least(60, many, 10) < 200, 'many queues')
  t.ok(least(1, [0], 300) < 200, 'the first queue')
})

t.test('beside other shares, each queue of a share has its turn', async (t) => {
  const other = further(t, 'other')
  const device = await Device.start(t, [...other.args, ...ONE_THREAD, '--thread-pool-size', '0'])
  writeFileSync(join(device.directory, 'file'), new Uint8Array(MIB))
  const fs = mount(t, device, { requestQueues: 3 })
  mount(t, other.share)
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const { handle } = fs.open(nodeid, 0)
  const answered: number[] = []
  for (let round = 0; round < 5; round++) {
    process.kill(device.pid, 'SIGSTOP')
    for (let n = 0; n < FLOOD; n++) fs.start(fs.readRequest(nodeid, handle, 0n, MIB), 1)
    const [second, third] = [2, 3].map((queue) => fs.start(fs.getattrRequest(ROOT_ID), queue))
    process.kill(device.pid, 'SIGCONT')
    t.equal(fs.finish(2), second)
    t.equal(fs.finish(3), third)
    process.kill(device.pid, 'SIGSTOP')
    let before = 0
    while (fs.finishNow(1) !== undefined) before++
    process.kill(device.pid, 'SIGCONT')
    for (let n = before; n < FLOOD; n++) fs.finish(1)
    answered.push(before)
  }
  t.ok(Math.min(...answered) < FLOOD / 2, `${answered.join(', ')} of ${FLOOD} reads were answered before`)
})

t.test('a guest leaves, its share ends, and nothing is left of it', async (t) => {
  const others = [further(t, 'a'), further(t, 'b')]
  const device = await Device.start(t, [...others.flatMap(({ args }) => args), ...ONE_THREAD])
  const shares = [device, ...others.map(({ share }) => share)]
  const [first, second, third] = shares.map((share) => mount(t, share))
  const fdsOfAll = device.fdCount()
  first?.close()
  await until(
    () => !device.openFiles().includes(device.directory),
    () => 'the directory is still open',
  )
  await until(
    () => device.fdCount() < fdsOfAll - 10,
    () => `${device.fdCount()} of ${fdsOfAll} descriptors are left`,
  )
  second?.mkdir(ROOT_ID, 'made')
  second?.close()
  third?.mkdir(ROOT_ID, 'made')
  third?.close()
  t.same(await device.exited(), { status: 0, signal: null })
})

t.test('a share that fails ends alone', async (t) => {
  const other = further(t, 'other')
  const live = await LiveDevice.start(t, [...other.args, ...ONE_THREAD, '--tag', 'bad'])
  const { device } = live
  const good = mount(t, other.share)
  const bad = attach(t, device)
  const limit = (soft: number | string) =>
    spawnSync('prlimit', ['--pid', `${device.pid}`, `--nofile=${soft}:`]).status
  t.equal(limit(1), 0)
  // The root of the session cannot be opened: nothing that a guest could cause.
  bad.start({ opcode: Op.INIT, nodeid: 0n, args: u32(7, 31, 0, 0), reply: { argBytes: 64 } })
  await device.waitForLog(({ msg }) => msg === 'the share failed')
  t.equal(limit(4096), 0)
  good.mkdir(ROOT_ID, 'made')
  t.ok(existsSync(join(other.share.directory, 'made')))
  const control = await live.control()
  const reports = await control.ask<readonly ReportedShare[]>('report')
  t.match(reports, [
    { name: 'other', state: 'answers' },
    { name: 'bad', state: 'failed' },
  ])
  t.notOk(device.openFiles().includes(device.directory), 'it holds nothing any more')
})

t.test(
  'shares that are added later live together, and their thread ends with the last of them',
  async (t) => {
    const live = await LiveDevice.start(t, ONE_THREAD)
    const control = await live.control()
    const changes = await live.changes()
    // Its connection is accepted.
    await control.ask('shares')
    const [alone, fds] = [live.threadCount(), live.device.fdCount()]
    const added = ['a', 'b', 'c'].map((tag) => live.share(tag))
    for (const { words } of added) await changes.ask('share-add', words)
    t.equal(live.threadCount(), alone + 1)
    const guests = added.map((share) => mount(t, share))
    for (const fs of guests) fs.mkdir(ROOT_ID, 'made')
    await changes.ask('share-remove', 'a')
    refused(t, 'ENOTCONN', () => guests[0]?.mkdir(ROOT_ID, 'late'))
    guests[1]?.mkdir(ROOT_ID, 'again')
    t.match(await control.ask('shares'), [{}, { name: 'b' }, { name: 'c' }])
    for (const tag of ['b', 'c']) await changes.ask('share-remove', tag)
    for (const fs of guests) fs.close()
    await until(
      () => live.threadCount() === alone,
      () => `${live.threadCount()} threads, not ${alone}`,
    )
    changes.socket.destroy()
    await live.device.waitForFdCount(fds)
    await (await live.changes()).ask('share-add', live.share('d').words)
    t.equal(live.threadCount(), alone + 1, 'the next one starts another')
  },
)

const place = tempDir(t)
const disk = DiskImage.mount(t, join(place, 'disk'), join(place, 'image'))
const skip =
  disk === undefined && 'needs root, mkfs.ext4, fsfreeze and a loop device: it freezes a file system'

/** Has the host begin something for a guest that it does not end before it is unfrozen. The thread goes on meanwhile. */
function startFallocate(fs: FuseGuest): Call {
  const { nodeid, handle } = fs.create(ROOT_ID, `file-${Math.random()}`, O_RDWR)
  disk?.freeze()
  t.teardown(() => disk?.unfreeze())
  const args = concat(u64(handle, 0, 65_536), u32(0, 0))
  return fs.start({ opcode: Op.FALLOCATE, nodeid, args, reply: EMPTY })
}

/** Returns the milliseconds that a request of a guest takes. */
function timed(fs: FuseGuest): number {
  const startMs = performance.now()
  fs.getattr(ROOT_ID)
  return performance.now() - startMs
}

t.test(
  'a guest leaves, and the host has not ended its requests: the others are served',
  { skip },
  async (t) => {
    const other = further(t, 'other')
    const args = [...other.args, ...ONE_THREAD]
    const device = await Device.start(t, ['--keep-alive', ...args], { directory: join(place, 'disk') })
    const fs = mount(t, device)
    const lone = mount(t, other.share)
    startFallocate(fs)
    await sleep(50)
    fs.close()
    for (let n = 0; n < 5; n++) {
      t.ok(timed(lone) < SOON_MS)
      await sleep(50)
    }
    t.ok(disk?.unfreeze())
    mount(t, device).mkdir(ROOT_ID, 'a guest that comes later')
  },
)

t.test('a share is removed, and the host has not ended its requests', { skip }, async (t) => {
  const live = await LiveDevice.start(t, ONE_THREAD)
  const changes = await live.changes()
  const socketPath = join(live.place, 'disk')
  await changes.ask('share-add', `tag=disk,path=${join(place, 'disk')},socket=${socketPath}`)
  const third = live.share('third')
  await changes.ask('share-add', third.words)
  const [fs, neighbour] = [mount(t, { socketPath }), mount(t, third)]
  const call = startFallocate(fs)
  await sleep(50)
  const removing = changes.ask('share-remove', 'disk')
  for (let n = 0; n < 5; n++) {
    t.ok(timed(neighbour) < SOON_MS)
    await sleep(50)
  }
  t.ok(disk?.unfreeze())
  t.match(await removing, { removed: 'disk' })
  t.equal(fs.finish(), call)
  t.equal(call.reply?.error, 0, 'what was under way is carried out')
  refused(t, 'ENOTCONN', () => fs.getattr(ROOT_ID))
  neighbour.mkdir(ROOT_ID, 'made')
})

t.test(
  'the host holds a thread up: its shares wait, and a share with its own does not',
  { skip },
  async (t) => {
    const [other, own] = [further(t, 'other'), further(t, 'own', ',own-thread')]
    const args = [...other.args, ...own.args, ...ONE_THREAD]
    const device = await Device.start(t, args, { directory: join(place, 'disk') })
    const fs = mount(t, device)
    const [lone, free] = [mount(t, other.share), mount(t, own.share)]
    t.ok(disk?.freeze())
    t.teardown(() => disk?.unfreeze())
    const call = startMkdir(fs, 'late')
    await sleep(50)
    t.ok(timed(free) < SOON_MS)
    lone.start(lone.getattrRequest(ROOT_ID))
    t.equal(lone.finishNow(undefined, 200), undefined, 'it waits for its neighbour')
    t.ok(disk?.unfreeze())
    t.equal(fs.finish(), call)
    t.equal(lone.finish().reply?.error, 0)
  },
)

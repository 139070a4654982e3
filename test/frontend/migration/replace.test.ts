/** The running process is replaced by another one, without an effect on the guest. */
import {
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { isRoot } from '../../support/device/cases.js'
import { ControlClient } from '../../support/device/control-client.js'
import { Device } from '../../support/device/device.js'
import { LiveDevice, until } from '../../support/device/live-device.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { EMPTY } from '../../support/fuse/fuse-client.js'
import { concat, u32, u64 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { F_RDLCK, F_UNLCK, F_WRLCK, flushBy, setlk, startSetlkw } from '../../support/fuse/posix-calls.js'
import { DiskImage } from '../../support/host/disk-image.js'
import { tempDir } from '../../support/host/temp-dir.js'
import { RawSocket } from '../../support/rings/raw-socket.js'
import { Req } from '../../support/rings/session-peer.js'

t.setTimeout(240_000)

const { O_APPEND, O_RDWR } = constants
const { LOCK_EX, LOCK_UN } = native.constants
const EAGAIN = 11
const NEED_REPLY = 8

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()
const bytesOf = (string: string) => new TextEncoder().encode(string)
const sandboxes = isRoot ? (['none', 'namespace', 'chroot'] as const) : (['none', 'namespace'] as const)

/** The reason why a replacement is refused. */
async function refusal(live: LiveDevice, argument?: unknown): Promise<string> {
  return live.replace(argument).then(
    () => 'it was replaced',
    (error: Error) => error.message,
  )
}

for (const sandbox of sandboxes) {
  t.test(
    `a process whose sockets were given as relative paths is replaced: --sandbox ${sandbox}`,
    async (t) => {
      const place = relative(process.cwd(), tempDir(t))
      const [socketPath, control] = [join(place, 'socket'), join(place, 'control')]
      const args = ['--keep-alive', '--socket-path', socketPath, '--control-socket', control]
      const device = await Device.start(t, args, { sandbox })
      const fs = mount(t, { socketPath })
      const client = await ControlClient.connect(t, `${control}.live`)
      await client.ask('replace')
      client.socket.destroy()
      await device.findSuccessor()
      fs.getattr(ROOT_ID)
    },
  )

  t.test(`open files, unlinked ones and a listing survive: --sandbox ${sandbox}`, async (t) => {
    const live = await LiveDevice.start(t, [], { sandbox })
    const { device } = live
    const fs = mount(t, device)
    mkdirSync(join(device.directory, 'sub'))
    for (let n = 0; n < 50; n++) writeFileSync(join(device.directory, `file-${n}`), `${n}`)
    const sub = fs.lookup(ROOT_ID, 'sub').nodeid
    const file = fs.create(sub, 'file', O_RDWR)
    const appended = fs.create(sub, 'appended', O_RDWR | O_APPEND)
    fs.write(file.nodeid, file.handle, 0n, bytesOf('before'))
    unlinkSync(join(device.directory, 'sub', 'file'))
    const directory = fs.opendir(ROOT_ID)
    const names = [...fs.readdir(ROOT_ID, directory.handle, 0n, 512)]
    const { pid, outerPid } = device
    const ofShare = () => device.openFiles().filter((path) => path.includes('/file-')).length
    const before = ofShare()
    await live.replace()
    t.not(device.pid, pid, 'another process serves')
    t.equal(device.outerPid, outerPid, 'and the one that was started is still there')
    t.equal(ofShare(), before)
    t.equal(text(fs.read(file.nodeid, file.handle, 0n, 100)), 'before')
    fs.write(file.nodeid, file.handle, 6n, bytesOf(', after'))
    t.equal(text(fs.read(file.nodeid, file.handle, 0n, 100)), 'before, after')
    fs.write(appended.nodeid, appended.handle, 0n, bytesOf('one'), O_APPEND)
    const flags = device.openFlagsOf('appended')
    await live.replace()
    t.equal(flags.length, 1)
    t.same(device.openFlagsOf('appended'), flags)
    writeFileSync(join(device.directory, 'sub', 'appended'), 'two', { flag: 'a' })
    fs.write(appended.nodeid, appended.handle, 3n, bytesOf('three'), O_APPEND)
    t.equal(readFileSync(join(device.directory, 'sub', 'appended'), 'utf8'), 'onetwothree')
    t.equal(fs.lookup(ROOT_ID, 'sub').nodeid, sub, 'a lookup finds the inode that the guest has')
    t.equal(fs.lookup(sub, 'appended').nodeid, appended.nodeid)
    for (let at = names.at(-1)?.off ?? 0n; ; ) {
      const more = fs.readdir(ROOT_ID, directory.handle, at, 512)
      if (more.length === 0) break
      names.push(...more)
      at = more.at(-1)?.off ?? 0n
    }
    const listed = names.filter(({ name }) => name.startsWith('file-')).map(({ name }) => name)
    t.equal(listed.length, 50, 'the listing goes on where it was')
    t.equal(new Set(listed).size, 50)
    const made = fs.create(ROOT_ID, 'made', O_RDWR)
    t.not(made.nodeid, file.nodeid, 'no node id is used twice')
    t.not(made.handle, file.handle)
    fs.mkdir(sub, 'below')
    t.ok(existsSync(join(device.directory, 'sub', 'below')))
    fs.release(file.nodeid, file.handle)
    fs.releasedir(ROOT_ID, directory.handle)
    fs.forgetAll()
    fs.close()
    await until(
      () => device.openFiles().filter((path) => path.includes('/sub')).length === 0,
      () => `left open: ${device.openFiles().join(' ')}`,
    )
  })

  t.test(`locks are held all the time, and requests that wait go on waiting: ${sandbox}`, async (t) => {
    const live = await LiveDevice.start(t, ['--posix-lock', '--flock'], { sandbox })
    const { device } = live
    const fs = mount(t, device)
    writeFileSync(join(device.directory, 'file'), 'text')
    const file = fs.lookup(ROOT_ID, 'file').nodeid
    const [a, b, c] = [0, 1, 2].map(() => fs.open(file, O_RDWR).handle) as [bigint, bigint, bigint]
    const hostFd = openSync(join(device.directory, 'file'), O_RDWR)
    const range = (from: number, type = F_WRLCK) => native.setRangeLock(hostFd, type, from, 1)
    setlk(fs, file, a, { owner: 1n, type: F_WRLCK, start: 0, last: 9 })
    setlk(fs, file, b, { owner: 2n, type: F_RDLCK, start: 20, last: 29 })
    setlk(fs, file, c, { owner: 3n, type: F_WRLCK, flock: true })
    // The handle through which the host knows the locks.
    fs.release(file, a)
    t.equal(range(40), 0)
    const waits = startSetlkw(fs, file, b, { owner: 4n, type: F_WRLCK, start: 40, last: 40 })
    const held = () => [range(5), range(25), native.flock(hostFd, LOCK_EX)]
    setlk(fs, file, b, { owner: 1n, type: F_WRLCK, start: 0, last: 9 })
    t.same(held(), [-EAGAIN, -EAGAIN, -EAGAIN])
    for (let n = 0; n < 3; n++) {
      await live.replace()
      t.same(held(), [-EAGAIN, -EAGAIN, -EAGAIN], 'a process of the host gets none')
      t.equal(waits.reply, undefined)
    }
    t.equal(range(40, F_UNLCK), 0)
    t.equal(fs.finish(), waits)
    t.equal(waits.reply?.error, 0, 'the request that waited has its lock')
    t.equal(range(40), -EAGAIN)
    setlk(fs, file, b, { owner: 1n, type: F_UNLCK, start: 0, last: 9 })
    t.equal(range(5), 0)
    t.equal(range(5, F_UNLCK), 0)
    flushBy(fs, file, b, 2n)
    t.equal(range(25), 0)
    setlk(fs, file, c, { owner: 3n, type: F_UNLCK, flock: true })
    t.equal(native.flock(hostFd, LOCK_EX), 0)
    native.flock(hostFd, LOCK_UN)
    native.close(hostFd)
  })
}

for (const threads of [1, 16]) {
  t.test(
    `several shares, at most ${threads} threads: in use, without a guest, and with requests that are held`,
    async (t) => {
      const second = shareWords(t, 'second')
      const third = shareWords(t, 'third')
      const sandbox = isRoot ? 'namespace' : 'none'
      const shares = ['--share', second.words, '--share', third.words]
      const live = await LiveDevice.start(t, [...shares, '--share-threads', `${threads}`], { sandbox })
      const fs = mount(t, live.device)
      const held = mount(t, third)
      const control = await live.control()
      await control.ask('fault-add', { opcodes: ['MKDIR'], hold: { until: 2, timeoutMs: 600_000 } }, 'third')
      const args = Buffer.concat([Buffer.from(Uint32Array.of(0o755, 0).buffer), Buffer.from('made\0')])
      const call = held.start({ opcode: Op.MKDIR, nodeid: ROOT_ID, args, reply: { argBytes: 128 } })
      const file = fs.create(ROOT_ID, 'file', O_RDWR)
      await live.replace()
      t.equal(held.finish(), call, 'the held request is served by the new process')
      t.equal(call.reply?.error, 0)
      t.ok(existsSync(join(third.directory, 'made')))
      t.equal(fs.write(file.nodeid, file.handle, 0n, bytesOf('text')), 4)
      const later = mount(t, second)
      later.mkdir(ROOT_ID, 'late')
      t.ok(existsSync(join(second.directory, 'late')), 'a front-end that comes later finds its share')
      later.close()
      await live.replace()
      mount(t, second).mkdir(ROOT_ID, 'later')
      t.ok(existsSync(join(second.directory, 'later')))
      held.mkdir(ROOT_ID, 'again')
      control.socket.destroy()
      await live.device.stop()
      // A warning of Node would be none.
      t.doesNotThrow(() => live.device.logs(), 'the log has log lines only')
    },
  )
}

t.test('a quota goes on from what was counted, files without a name included', async (t) => {
  const live = await LiveDevice.start(t, ['--quota-bytes', '64M', '--quota-inodes', '100'])
  const { device } = live
  const fs = mount(t, device)
  const used = async () => {
    const control = await live.control()
    const { quota } = await control.ask<{ quota: { usedBytes: number; usedInodes: number } }>('limits')
    control.socket.destroy()
    return { bytes: quota.usedBytes, inodes: quota.usedInodes }
  }
  const empty = await used()
  const kept = fs.create(ROOT_ID, 'kept', O_RDWR)
  const gone = fs.create(ROOT_ID, 'gone', O_RDWR)
  for (const { nodeid, handle } of [kept, gone]) fs.write(nodeid, handle, 0n, new Uint8Array(65_536))
  fs.unlink(ROOT_ID, 'gone')
  const before = await used()
  t.equal(before.inodes, empty.inodes + 2)
  await live.replace()
  t.same(await used(), before)
  fs.write(gone.nodeid, gone.handle, 65_536n, new Uint8Array(65_536))
  fs.release(gone.nodeid, gone.handle)
  fs.forget(gone.nodeid, 1n)
  t.same(await used(), { bytes: before.bytes - 65_536, inodes: before.inodes - 1 })
  fs.unlink(ROOT_ID, 'kept')
  fs.release(kept.nodeid, kept.handle)
  fs.forget(kept.nodeid, 1n)
  t.equal((await used()).inodes, empty.inodes)
})

t.test('a device of an ordinary user, in a user namespace of its own', async (t) => {
  if (!isRoot) {
    t.pass('as an ordinary user', { skip: 'every other test is one, without root' })
    return
  }
  const launcher = ['setpriv', '--reuid=1234', '--regid=1234', '--clear-groups']
  const live = await LiveDevice.start(t, ['--flock'], { sandbox: 'namespace', launcher, owner: 1234 })
  const fs = mount(t, live.device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  setlk(fs, nodeid, handle, { owner: 3n, type: F_WRLCK, flock: true })
  fs.unlink(ROOT_ID, 'file')
  fs.write(nodeid, handle, 0n, bytesOf('text'))
  for (let n = 0; n < 2; n++) {
    await live.replace()
    t.equal(text(fs.read(nodeid, handle, 0n, 100)), 'text')
    fs.mkdir(ROOT_ID, `made-${n}`)
    t.ok(existsSync(join(live.device.directory, `made-${n}`)))
  }
})

t.test('shares that were added go on, and those that were removed stay away', async (t) => {
  const second = shareWords(t, 'second')
  const sandbox = isRoot ? 'namespace' : 'none'
  const live = await LiveDevice.start(t, ['--share', second.words], { sandbox })
  const third = live.share('third')
  const changes = await live.changes()
  await changes.ask('share-add', third.words)
  changes.socket.destroy()
  const fs = mount(t, third)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  const names = async () => {
    const control = await live.control()
    const shares = await control.ask<readonly { name: string }[]>('shares')
    control.socket.destroy()
    return shares.map(({ name }) => name)
  }
  await live.replace()
  t.same(await names(), ['0', 'second', 'third'])
  t.equal(fs.write(nodeid, handle, 0n, bytesOf('text')), 4)
  const removal = await live.changes()
  await removal.ask('share-remove', 'second')
  removal.socket.destroy()
  await live.replace()
  await live.replace()
  t.same(await names(), ['0', 'third'])
  t.equal(fs.write(nodeid, handle, 0n, bytesOf('text')), 4)
  const end = await live.changes()
  await end.ask('share-remove', 'third')
  end.socket.destroy()
  t.same(live.sockets(), [], 'and its socket goes with it')
})

/** A further share: its words, its directory and its socket. */
function shareWords(t: Test, name: string) {
  const place = tempDir(t)
  const directory = join(place, name)
  mkdirSync(directory)
  const socketPath = join(place, `${name}.sock`)
  return { directory, socketPath, words: `tag=${name},path=${directory},socket=${socketPath}` }
}

t.test('options: some may change, some may not, and a wrong one changes nothing', async (t) => {
  const live = await LiveDevice.start(t)
  const { device } = live
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  const { pid } = device
  t.match(await refusal(live, { options: ['--no-such-option'] }), /unknown option '--no-such-option'/)
  t.match(await refusal(live, { options: ['--readonly'] }), /--readonly was false at the source and is true/)
  t.match(await refusal(live, { options: ['--writeback'] }), /--writeback was false/)
  t.match(
    await refusal(live, { options: ['--socket-path', '/tmp/other'] }),
    /no share at .* sockets cannot change/,
  )
  t.match(await refusal(live, { options: ['--sandbox', 'namespace'] }), /--sandbox cannot change/)
  t.match(await refusal(live, { options: ['--shared-dir', tempDir(t)] }), /shared directory is another/)
  t.match(await refusal(live, { with: '/bin/false' }), /ended before it was ready/)
  t.match(await refusal(live, { with: '/nowhere' }), /\/nowhere cannot be run \(ENOENT\)/)
  t.match(await refusal(live, { unknown: true }), /replace takes/)
  device.findServingProcess()
  t.equal(device.pid, pid, 'the same process serves')
  t.equal(fs.write(file.nodeid, file.handle, 0n, bytesOf('text')), 4)
  await live.replace({ options: ['--cache', 'never', '--log-level', 'debug'] })
  t.not(device.pid, pid)
  t.equal(fs.write(file.nodeid, file.handle, 0n, bytesOf('more')), 4)
  await device.waitForLog(({ msg }) => msg.startsWith('the source had other caching options'))
})

t.test('SIGUSR2 replaces the process by the same program', async (t) => {
  const live = await LiveDevice.start(t)
  const { device } = live
  const fs = mount(t, device)
  const { pid } = device
  device.kill('SIGUSR2')
  await until(
    () => {
      device.findServingProcess()
      const goesOn = device.logs().some(({ msg }) => msg === 'the share goes on in this process')
      return goesOn && device.pid !== pid
    },
    () => 'nothing has happened',
  )
  fs.mkdir(ROOT_ID, 'made')
  device.kill('SIGTERM')
  t.same(await device.exited(), { status: 0, signal: null })
  t.same(live.sockets(), [], 'and no file is left')
})

t.test('shares in a sandbox need no control socket for that', async (t) => {
  const others = ['--share', `shared-dir=${tempDir(t)},socket-path=${join(tempDir(t), 'other')},tag=other`]
  const device = await Device.start(t, ['--keep-alive', ...others], { sandbox: 'namespace' })
  const fs = mount(t, device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  device.kill('SIGUSR2')
  await until(
    () => device.logs().some(({ msg }) => msg === 'the share goes on in this process'),
    () => 'nothing has happened',
  )
  device.findServingProcess()
  t.equal(fs.write(nodeid, handle, 0n, bytesOf('text')), 4)
})

t.test('a share on the main thread goes on as well, on that of the new process', async (t) => {
  const device = await Device.start(t, ['--keep-alive'], { sandbox: 'namespace' })
  const threads = () => readdirSync(`/proc/${device.pid}/task`).length
  const before = threads()
  const fs = mount(t, device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  for (let times = 1; times <= 2; times++) {
    const { pid } = device
    device.kill('SIGUSR2')
    await until(
      () => {
        device.findServingProcess()
        const goesOn = device.logs().filter(({ msg }) => msg === 'the share goes on in this process')
        return goesOn.length === times && device.pid !== pid
      },
      () => 'nothing has happened',
    )
    t.equal(fs.write(nodeid, handle, 0n, bytesOf('text')), 4)
    t.equal(threads(), before, 'no thread of its own')
  }
})

t.test('a process that cannot be replaced ignores SIGUSR2', async (t) => {
  const user = isRoot ? ['setpriv', '--reuid=1234', '--regid=1234', '--clear-groups'] : []
  const device = await Device.start(t, [], { launcher: user, ...(isRoot ? { owner: 1234 } : {}) })
  const fs = mount(t, device)
  device.kill('SIGUSR2')
  await device.waitForLog(({ msg }) => msg.startsWith('this process cannot be replaced'))
  fs.mkdir(ROOT_ID, 'made')
  t.ok(existsSync(join(device.directory, 'made')), 'it serves its guest')
})

t.test('a message of which one half has come is answered when the other half has', async (t) => {
  const live = await LiveDevice.start(t)
  const socket = new RawSocket(live.device.socketPath)
  const shared = native.memfdCreate(4096)
  const header = concat(u32(Req.GET_PROTOCOL_FEATURES, 1, 0))
  socket.send(Req.GET_PROTOCOL_FEATURES, new Uint8Array(0))
  const offered = socket.receiveU64(Req.GET_PROTOCOL_FEATURES)
  socket.send(Req.SET_PROTOCOL_FEATURES, u64(offered))
  socket.sendBytes(header.subarray(0, 5))
  await settled(live)
  await live.replace()
  socket.sendBytes(header.subarray(5))
  t.equal(socket.receiveU64(Req.GET_PROTOCOL_FEATURES), offered)
  const region = concat(u64(0, 0, 4096, 0x10_0000, 0))
  const whole = concat(u32(Req.ADD_MEM_REG, 1 | NEED_REPLY, region.length), region)
  socket.sendBytes(whole.subarray(0, 20), [shared])
  await settled(live)
  await live.replace()
  socket.sendBytes(whole.subarray(20))
  t.equal(socket.receiveU64(Req.ADD_MEM_REG), 0n, 'the descriptor came with the first half')
  native.close(shared)
  socket.close()
})

/** The share's thread has read what was sent before. */
async function settled(live: LiveDevice): Promise<void> {
  const control = await live.control()
  await control.ask('state')
  control.socket.destroy()
}

t.test('the host does not finish a request in time: the old process goes on', async (t) => {
  const directory = join(tempDir(t), 'share')
  const disk = DiskImage.mount(t, directory, join(tempDir(t), 'image'))
  if (disk === undefined) {
    t.pass('a frozen disk', { skip: 'needs root, mkfs.ext4, fsfreeze and a loop device' })
    return
  }
  const live = await LiveDevice.start(t, [], { directory })
  const fs = mount(t, live.device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  const { pid } = live.device
  t.ok(disk.freeze())
  const args = concat(u64(handle, 0, 65_536), u32(0, 0))
  const call = fs.start({ opcode: Op.FALLOCATE, nodeid, args, reply: EMPTY })
  await settled(live)
  t.match(await refusal(live), /requests under way did not end in time/)
  t.equal(call.reply, undefined)
  t.ok(disk.unfreeze())
  t.equal(fs.finish(), call)
  t.equal(call.reply?.error, 0)
  live.device.findServingProcess()
  t.equal(live.device.pid, pid)
  await live.replace()
  t.equal(fs.getattr(nodeid).attr.size, 65_536n)
  fs.close()
})

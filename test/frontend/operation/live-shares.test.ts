/** Shares that are added to a running process, and removed from it. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { textOf } from '../../../vm/host/text-of.js'
import { isRoot } from '../../support/device/cases.js'
import { LiveDevice, until } from '../../support/device/live-device.js'
import { runProgram } from '../../support/device/program.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { listxattr } from '../../support/fuse/posix-calls.js'
import { refused } from '../../support/fuse/refusals.js'

const O_RDWR = 2
const sandboxes = isRoot ? (['none', 'namespace', 'chroot'] as const) : (['none', 'namespace'] as const)
const nobody = 65534

for (const sandbox of sandboxes) {
  t.test(`--sandbox ${sandbox} --seccomp kill: a share is added, served and removed`, async (t) => {
    const live = await LiveDevice.start(t, [], { sandbox })
    const { directory, socketPath, words } = live.share('b')
    writeFileSync(join(directory, 'of-the-host'), 'hello')
    mkdirSync(join(directory, 'dir'))
    const control = await live.control()
    await control.ask('shares')
    const [files, threads] = [live.device.fdCount(), live.threadCount()]
    const changes = await live.changes()
    t.match(await changes.ask('share-add', words), { name: 'b', directory, socketPath })
    t.equal(statSync(socketPath).mode & 0o777, 0o600, 'as from the start')
    t.equal(readFileSync(`${socketPath}.pid`, 'utf8'), `${live.device.outerPid}\n`)
    t.match(await control.ask('state', undefined, 'b'), { connected: false })

    const fs = mount(t, { socketPath })
    const { nodeid, attr } = fs.lookup(ROOT_ID, 'of-the-host')
    t.equal(attr.size, 5n)
    const { handle } = fs.open(nodeid, O_RDWR)
    fs.write(nodeid, handle, 0, Buffer.from('HELLO'))
    t.equal(readFileSync(join(directory, 'of-the-host'), 'utf8'), 'HELLO')
    fs.create(ROOT_ID, 'of-the-guest', O_RDWR)
    t.ok(existsSync(join(directory, 'of-the-guest')))
    await control.ask('inspect', true, 'b')
    fs.write(nodeid, handle, 0, Buffer.from('paths'))
    t.match(
      await control.ask('inodes', undefined, 'b'),
      [{ path: 'of-the-host' }],
      'paths begin at the share',
    )

    t.same(await changes.ask('share-remove', 'b'), { removed: 'b' })
    t.notOk(existsSync(socketPath))
    t.same(live.sockets(), [])
    refused(t, 'ENOTCONN', () => fs.write(nodeid, handle, 0, Buffer.from('late')))
    refused(t, 'ENOTCONN', () => fs.lookup(ROOT_ID, 'dir'))
    refused(t, 'ENOTCONN', () => fs.init())
    t.notOk(
      live.device.openFiles().some((path) => path.includes('of-the-host')),
      'the directory is given up while its guest is still there',
    )
    fs.close()
    await live.device.waitForFdCount(files)
    await until(
      () => live.threadCount() <= threads,
      () => `${live.threadCount()} threads, not ${threads}`,
    )
    t.equal((await control.ask<readonly object[]>('shares')).length, 1)

    t.match(await changes.ask('share-add', words), { name: 'b' }, 'the place is free again')
  })
}

t.test(
  'a user without privileges adds a share to its process',
  { skip: !isRoot && 'needs root' },
  async (t) => {
    const launcher = ['setpriv', '--reuid', `${nobody}`, '--regid', `${nobody}`, '--clear-groups']
    const live = await LiveDevice.start(t, [], { sandbox: 'namespace', launcher, owner: nobody })
    const { directory, socketPath, words } = live.share('mine', nobody)
    chmodSync(join(directory, '..'), 0o755)
    const changes = await live.changes()
    await changes.ask('share-add', words)
    t.equal(statSync(socketPath).uid, nobody)
    const fs = mount(t, { socketPath })
    fs.create(ROOT_ID, 'file', O_RDWR)
    t.equal(statSync(join(directory, 'file')).uid, nobody)
    const closed = live.share('of-root')
    chmodSync(closed.directory, 0o700)
    t.match(await changes.refusal('share-add', closed.words), /cannot (enter|be reached)/)
    t.same(live.sockets(), ['mine', 'mine.pid'])
  },
)

t.test('what a start refuses, share-add refuses, and nothing is left behind', async (t) => {
  const live = await LiveDevice.start(t, ['--tag', 'first'], { sandbox: isRoot ? 'namespace' : 'none' })
  const { device, place } = live
  const { directory, words } = live.share('b')
  const changes = await live.changes()
  const socket = (path: string) => `tag=b,path=${directory},socket=${path}`
  writeFileSync(join(place, 'file'), '')
  const server = createServer().listen(join(place, 'busy'))
  t.teardown(() => server.close())
  mkdirSync(join(place, 'open'))
  chmodSync(join(place, 'open'), 0o777)
  symlinkSync(device.directory, join(place, 'link'))
  const refusals: readonly (readonly [string, RegExp])[] = [
    [`${words},tag=first`, /another share has this tag/],
    [socket(device.socketPath), /another share listens there/],
    [socket(join(place, 'control')), /the control socket is there/],
    [socket(join(place, 'control.live')), /changes are asked for there/],
    [socket(join(device.directory, 's')), /lies in the shared directory/],
    [socket(join(place, 'link', 's')), /lies in the shared directory/],
    [socket(join(directory, 's')), /lies in the shared directory/],
    [socket(join(place, 'file')), /exists and is no socket/],
    [socket(join(place, 'busy')), /another process listens there/],
    [socket(join(place, 'nowhere', 's')), /no directory/],
    [`${socket(join(place, 'open', 's'))},socket-group=root`, /everybody may write/],
    [
      `tag=b,path=${place},socket=${join(directory, 's')}`,
      /--control-socket .* lies in the shared directory/,
    ],
    [`tag=b,path=${directory}/none,socket=${join(place, 'b')}`, /no such directory/],
    [`tag=b,path=${directory}`, /where is QEMU to connect/],
    [`${words},cache=perhaps`, /'perhaps' is not one of/],
    [`${words},sandbox=none`, /'sandbox' is for the whole process/],
    [`tag=b,path=${directory},fd=3`, /inherits no socket/],
    [`${words},inode-file-handles=mandatory,xattrmap=nonsense`, /xattrmap/],
  ]
  const files = device.fdCount()
  for (const [argument, complaint] of refusals)
    t.match(await changes.refusal('share-add', argument), complaint, argument)
  t.match(await changes.refusal('share-add', { tag: 'b' }), /words/)
  t.match(
    await changes.refusal('share-remove', 'nobody'),
    /no share is called 'nobody'\. There are: first \(\/.*\)/,
  )
  t.match(await changes.refusal('state'), /unknown command/)
  t.match(await (await live.control()).refusal('share-add', words), /socket of changes/)
  t.same([...live.sockets()].sort(), ['busy', 'file', 'link', 'open'])
  t.equal(device.fdCount() <= files + 1, true, 'and the client of the control socket')
  t.equal((await (await live.control()).ask<readonly object[]>('shares')).length, 1)
})

t.test('--readonly and the limits of the command line apply to an added share', async (t) => {
  const live = await LiveDevice.start(t, ['--no-xattr'], { sandbox: isRoot ? 'namespace' : 'none' })
  const { socketPath, words } = live.share('b')
  await (await live.changes()).ask('share-add', `${words},readonly`)
  const fs = mount(t, { socketPath })
  refused(t, 'EROFS', () => fs.create(ROOT_ID, 'file', O_RDWR))
  refused(t, 'ENOSYS', () => listxattr(fs, ROOT_ID))
})

t.test('held requests and waiting processes end when their share is removed', async (t) => {
  const live = await LiveDevice.start(t)
  const { directory, socketPath, words } = live.share('b')
  writeFileSync(join(directory, 'file'), 'x')
  const changes = await live.changes()
  await changes.ask('share-add', words)
  const control = await live.control()
  const fs = mount(t, { socketPath })
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  await control.ask('fault-add', { opcodes: ['STATFS'], hold: { until: 2, timeoutMs: 1_000_000 } }, 'b')
  fs.start({ opcode: Op.STATFS, nodeid, reply: { argBytes: 80 } })
  await changes.ask('share-remove', 'b')
  fs.finish()
  refused(t, 'ENOTCONN', () => fs.getattr(nodeid))
})

t.test('the first share is removed as well, and the process goes on', async (t) => {
  const live = await LiveDevice.start(t, ['--tag', 'first'])
  const { device } = live
  const changes = await live.changes()
  await changes.ask('share-remove')
  t.notOk(existsSync(device.socketPath))
  t.notOk(existsSync(`${device.socketPath}.pid`))
  await changes.ask('share-add', `tag=first,path=${device.directory},socket=${device.socketPath}`)
  mount(t, device)
  device.kill('SIGTERM')
  t.same(await device.exited(), { status: 0, signal: null })
  t.notOk(existsSync(device.socketPath), 'the end removes what was added')
  t.same(live.sockets(), [])
})

t.test('virtiofsd-ts ctl', async (t) => {
  const live = await LiveDevice.start(t)
  const { words } = live.share('b')
  const ctl = (...args: string[]) =>
    runProgram(['ctl', '--control-socket', join(live.place, 'control'), ...args])
  t.match(ctl('share-add', words), { status: 0, stdout: /"name": "b"/ })
  t.match(ctl('share-add', words), { status: 2, stderr: /another share/ })
  t.match(ctl('--share', 'b', 'set', 'cache=never,allow-mmap=true'), {
    status: 0,
    stdout: /"atNextMount": \[\s*"allow-mmap"/,
  })
  t.match(ctl('share-remove', 'b'), { status: 0 })
  t.match(ctl('reload'), { status: 0 }, 'the command line has not changed')
})

t.test('a helper gives way to the shares that serve, and a successor does not', async (t) => {
  const live = await LiveDevice.start(t, [], { sandbox: 'none' })
  const changes = await live.changes()
  t.match(await changes.refusal('share-remove', 'nobody'), /no share is called/)
  const niceness = (pid: number | string) =>
    Number(
      readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /s, '')
        .split(' ')[16],
    )
  const before = niceness(live.device.pid)
  const isHelper = (pid: string) => {
    const words = textOf(`/proc/${pid}/cmdline`)
    return words.startsWith(process.execPath) && words.includes('/helper.js\0') && words.includes(live.place)
  }
  const [helper = '', ...others] = readdirSync('/proc').filter(isHelper)
  t.same(others, [])
  t.equal(niceness(helper), Math.min(19, before + 10))
  changes.socket.destroy()
  await live.replace()
  t.equal(niceness(live.device.pid), before)
})

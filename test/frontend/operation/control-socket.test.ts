/** The control socket: its lines, and clients that hang, flood it or send malformed lines. */

import { statSync } from 'node:fs'
import { connect } from 'node:net'
import t from 'tap'
import { ControlClient, startControlled } from '../../support/device/control-client.js'
import { Device, sleep } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

const MAX_CLIENTS = 16

t.test('each command gets its answer', async (t) => {
  const { device, control, controlPath } = await startControlled(t, ['--tag', 'data'])
  t.equal(statSync(controlPath).mode & 0o777, 0o600, "its user's alone")
  t.match(await control.ask('state'), { connected: false, mounted: false, inspecting: false, faults: 0 })
  const fs = mount(t, device)
  t.match(await control.ask('state'), { connected: true, mounted: true, guest: '7.46' })
  fs.getattr(ROOT_ID)
  t.throws(() => fs.lookup(ROOT_ID, 'nothing'))
  t.match(await control.ask('counts'), {
    requests: { INIT: 1, GETATTR: 1, LOOKUP: 1 },
    errors: { LOOKUP: 1 },
  })
  t.match(await control.ask('shares'), [
    { name: 'data', directory: device.directory, socketPath: device.socketPath },
  ])
  t.same(await control.line('{"id":[1],"command":"counts","share":"data"}').then((answer) => answer?.id), [1])
  t.ok(Object.keys(await control.ask<object>('help')).includes('fault-add'))
})

t.test('a line of very many levels is refused, and ends nothing', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
  for (const levels of [40, 1000, 8000, 30_000])
    for (const line of [
      `{"id":${deep(levels)},"command":"state"}`,
      `{"command":"state","argument":${deep(levels)}}`,
    ])
      t.match(await control.line(line), { ok: false, error: /at most 32 levels/ }, `${levels} levels`)
  t.match(await control.line(`{"id":${deep(31)},"command":"state"}`), { ok: true })
  fs.getattr(ROOT_ID)
})

t.test('malformed lines and unknown commands are refused', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  const bad: readonly (readonly [string, RegExp])[] = [
    ['nonsense', /not a line of JSON/],
    ['[]', /a request is an object/],
    ['null', /a request is an object/],
    ['{}', /a request has a command/],
    ['{"command":7}', /a request has a command/],
    ['{"command":"stat"}', /^unknown command 'stat' \(did you mean state\?\): "ctl --help" lists them$/],
    ['{"command":"__proto__"}', /unknown command/],
    ['{"command":"constructor"}', /unknown command/],
    ['{"command":"state","share":7}', /share is a name/],
    ['{"command":"state","share":"x"}', /'x'/],
    ['{"command":"inspect"}', /expected true or false/],
    ['{"command":"withhold","argument":"WRITE"}', /list of opcode names/],
    ['{"command":"init","argument":{"minor":-1}}', /minor/],
  ]
  for (const [line, complaint] of bad) {
    const answer = await control.line(line)
    t.equal(answer?.ok, false, line)
    t.match(answer?.error, complaint)
  }
  t.match(await control.ask('state'), { inspecting: false, faults: 0 })
  fs.getattr(ROOT_ID)
})

t.test('a command names its share when there are several', async (t) => {
  const [one, two] = [tempDir(t), tempDir(t)]
  const share = (tag: string, path: string) => ['--share', `tag=${tag},path=${path},socket=${tempDir(t)}/s`]
  const { control } = await startControlled(t, [...share('one', one), ...share('two', two)])
  t.match(await control.refusal('state'), /say which share: .*one, two/)
  t.match(await control.ask('state', undefined, 'two'), { connected: false })
  t.match(await control.refusal('set', { cache: 'never' }), /say which share/)
  t.match(await control.refusal('set', { 'log-level': 'debug', cache: 'never' }), /say which share/)
  t.same(await control.ask('set', { 'log-level': 'debug' }), { atNextMount: [] }, 'one level for all')
  const refusal = await control.refusal('set', { 'share-threads': 2 }, 'two')
  t.equal(refusal, 'set: share-threads is for the whole process: replace the process')
})

t.test('a client that never reads is cut off', async (t) => {
  const { device, controlPath } = await startControlled(t)
  const fs = mount(t, device)
  const socket = connect(controlPath)
  socket.on('error', () => {})
  let closed = false
  socket.on('close', () => {
    closed = true
  })
  socket.pause()
  const lines = '{"command":"help"}\n'.repeat(20)
  while (!closed && !socket.destroyed && socket.writableLength < 1 << 20) {
    socket.write(lines)
    await sleep(1)
    fs.getattr(ROOT_ID)
  }
  socket.destroy()
  const other = await ControlClient.connect(t, controlPath)
  t.match(await other.ask('state'), { mounted: true })
})

t.test('a client that floods the socket is refused, and does not slow the share', async (t) => {
  const { device, controlPath } = await startControlled(t)
  const fs = mount(t, device)
  const flood = await ControlClient.connect(t, controlPath)
  flood.socket.write('{"command":"inodes"}\n'.repeat(10_000))
  for (let n = 0; n < 1000; n++) fs.getattr(ROOT_ID)
  let last: string | undefined
  for (let answer = await flood.next(); answer !== undefined; answer = await flood.next()) last = answer.error
  t.match(last, /more than 32 requests wait/)
  t.ok(device.alive)
})

t.test('a line without an end is cut off', async (t) => {
  const { device, controlPath } = await startControlled(t)
  const fs = mount(t, device)
  const endless = await ControlClient.connect(t, controlPath)
  const piece = 'x'.repeat(64 * 1024)
  for (let n = 0; n < 100; n++) endless.socket.write(piece)
  t.match(await endless.next(), { ok: false, error: /a line has at most/ })
  t.equal(await endless.next(), undefined, 'and the connection is closed')
  fs.getattr(ROOT_ID)
})

t.test('the number of clients is bounded; one that leaves makes room', async (t) => {
  const { control, controlPath } = await startControlled(t)
  const clients = []
  for (let n = 1; n < MAX_CLIENTS; n++) clients.push(await ControlClient.connect(t, controlPath))
  for (const client of clients) t.ok(await client.ask('state'))
  const surplus = await ControlClient.connect(t, controlPath)
  t.equal(await surplus.line('{"command":"state"}'), undefined)
  clients[0]?.socket.destroy()
  for (;;) {
    const next = await ControlClient.connect(t, controlPath)
    if ((await next.line('{"command":"state"}'))?.ok) break
    await sleep(5)
  }
  t.ok(await control.ask('state'))
})

t.test('ctl prints answers as JSON', async (t) => {
  const { device, control, controlPath } = await startControlled(t)
  const ctl = (...args: readonly string[]) => runProgram(['ctl', '--control-socket', controlPath, ...args])
  mount(t, device)
  t.match(JSON.parse(ctl('state').stdout), { mounted: true })
  t.match(JSON.parse(ctl('fault-add', 'opcode=WRITE,path=**/db,hold=2,timeout-ms=300').stdout), { id: 1 })
  t.match(await control.faults(), [
    { spec: { opcodes: ['WRITE'], path: '**/db', hold: { until: 2, timeoutMs: 300 } } },
  ])
  t.match(JSON.parse(ctl('fault-remove', '1').stdout), { removed: 1 })
  t.match(ctl('fault-remove', '1'), { status: 2, stderr: /^virtiofsd-ts: ctl: no fault has number 1$/ })
  t.match(ctl('inodes', '{top}'), { status: 2, stderr: /the argument is not JSON/ })
  t.match(ctl('fault-add', 'opcode=WRTE,errno=EIO'), { status: 2, stderr: /no such opcode: 'WRTE'/ })
  t.match(JSON.parse(ctl('withhold', 'LSEEK+SYNCFS').stdout), { withheld: ['LSEEK', 'SYNCFS'] })
  t.match(JSON.parse(ctl('withhold', 'none').stdout), { withheld: [] })
  t.match(JSON.parse(ctl('init', 'off=ASYNC_DIO+MAX_PAGES,minor=31').stdout), {
    nextInit: { on: [], off: ['ASYNC_DIO', 'MAX_PAGES'], minor: 31 },
  })
  t.match(JSON.parse(ctl('inspect', 'on').stdout), { inspecting: true })
  t.same(JSON.parse(ctl('inodes', 'top=5,sort=writes,path=**').stdout), [])
  t.match(ctl('inodes', 'top=x'), { status: 2, stderr: /top is a number/ })
  t.match(ctl('inodes', 'tpo=5'), { status: 2, stderr: /unknown key 'tpo'/ })
  t.match(ctl('init', 'of=ASYNC_DIO'), { status: 2, stderr: /unknown key 'of'/ })
  t.match(ctl('inspect', 'maybe'), { status: 2, stderr: /takes on or off, not 'maybe'/ })
  t.match(ctl('fault-add', 'probability=often,errno=EIO'), { status: 2, stderr: /'often' is not a number/ })
  t.match(ctl('--sahre', 'x', 'state'), { status: 2, stderr: /unknown option '--sahre'/ })
  t.match(ctl('--watch', 'x', 'state'), { status: 2, stderr: /--watch x: not a number/ })
})

t.test('ctl prints answers as tables', async (t) => {
  const { device, control, controlPath } = await startControlled(t, ['--inspect'])
  const text = (...args: readonly string[]) =>
    runProgram(['ctl', '--control-socket', controlPath, '--text', ...args]).stdout
  t.equal(text('inodes'), 'none')
  t.equal(text('fault-list'), 'none')
  const fs = mount(t, device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', 2)
  fs.write(nodeid, handle, 0, Uint8Array.of(1))
  t.match(text('state'), /^mounted +yes\nguest +7\.46\nflags +ASYNC_READ .*DO_READDIRPLUS/m)
  t.match(text('counts'), /^opcode +requests +errors\n.*^WRITE +1 +0$/ms)
  t.match(text('inodes'), /^overlap +in flight .*\n +1 +0 +0 +1 +0 +0 +1 {2}file {2}1 none$/m)
  t.match(text('totals'), /^inodes +1\n.*^directWrites +1$/ms)
  t.match(text('latency'), /^opcode +count +mean us .*^WRITE +1 /ms)
  t.match(
    text('fault-add', 'opcode=READ,delay-ms=1..9,limit=2'),
    /^fault 1: opcode=READ,limit=2,delay-ms=1\.\.9$/,
  )
  t.match(text('fault-list'), /^ +1 +0 +0 {2}opcode=READ,limit=2,delay-ms=1\.\.9$/m)
  await control.ask('withhold', ['SYNCFS'])
  t.throws(() => fs.syncfs(), { code: 'ENOSYS' })
  t.match(text('state'), /^withheld +SYNCFS 1$/m, 'counted')
  await device.waitForLog(({ msg }) => msg === 'withheld opcode answered with ENOSYS')
  t.match(runProgram(['ctl', '--control-socket', controlPath, '--text', '--json', 'state']), { status: 2 })
})

t.test('the control socket is removed when the process ends', async (t) => {
  const directory = tempDir(t)
  const controlPath = `${directory}/control`
  const device = await Device.start(t, ['--control-socket', controlPath])
  t.ok(statSync(controlPath).isSocket())
  await device.stop()
  t.equal(statSync(controlPath, { throwIfNoEntry: false }), undefined)
})

/**
 * Cases in which the program or ctl once hung: a share that has ended, a busy listener, an eventfd that becomes
 * blocking.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { ControlClient } from '../support/device/control-client.js'
import { Device, sleep } from '../support/device/device.js'
import { runProgram } from '../support/device/program.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import { u64 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const TIMEOUT_MS = 20_000
const { O_NONBLOCK } = native.constants

t.test('ctl reports a share that has ended', async (t) => {
  const place = tempDir(t)
  const second = join(place, 'second')
  mkdirSync(second)
  const socket = join(place, 'second-socket')
  const controlPath = join(place, 'control')
  const device = await Device.start(t, [
    '--control-socket',
    controlPath,
    '--share',
    `tag=second,path=${second},socket=${socket}`,
  ])
  const control = await ControlClient.connect(t, controlPath)
  const names = (await control.ask<readonly { name: string }[]>('shares')).map(({ name }) => name)
  t.equal(names.length, 2)
  const ofSecond = mount(t, { socketPath: socket })
  t.match(await control.ask('state', undefined, names[0]), { connected: false })
  ofSecond.close()
  const answer = async () =>
    (await control.line(JSON.stringify({ command: 'state', share: 'second' }))) as { error?: string }
  const endMs = performance.now() + TIMEOUT_MS
  let error: string | undefined
  while (error === undefined && performance.now() < endMs) {
    error = (await answer()).error
    await sleep(20)
  }
  t.match(error, /^the share has ended$|^no share is called 'second', or it has ended\. There are: /)
  t.match(await control.ask('state', undefined, names[0]), { connected: false }, 'the other goes on')
  mount(t, device).close()
  await device.exited()
})

const BUSY = `
import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(0)
waiting = socket.socket(socket.AF_UNIX)
waiting.connect(sys.argv[1])
print("full", flush=True)
time.sleep(100)
`

t.test('a socket whose listener has a full backlog is in use', async (t) => {
  const path = join(tempDir(t), 'socket')
  const busy = spawn('python3', ['-c', BUSY, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => busy.kill('SIGKILL'))
  await new Promise((resolve) => busy.stdout.once('data', resolve))
  const { status, stderr } = runProgram([
    '--shared-dir',
    tempDir(t),
    '--socket-path',
    path,
    '--sandbox',
    'none',
  ])
  t.equal(status, 2)
  t.match(stderr, /another process listens there/)
})

t.test('a call descriptor that becomes blocking, and full, stalls nothing', async (t) => {
  const device = await Device.start(t, ['--poll-us', '0'])
  const fs = mount(t, device)
  fs.getattr(ROOT_ID)
  const queue = fs.frontend.queues[REQUEST_QUEUE]!
  const { callFd } = queue
  native.eventfdDrain(callFd)
  native.setStatusFlags(callFd, native.statusFlags(callFd) & ~O_NONBLOCK)
  writeSync(callFd, u64((1n << 64n) - 2n))
  for (let n = 0; n < 3; n++) t.ok(fs.getattr(ROOT_ID).attr.ino > 0n)
  t.equal(native.statusFlags(callFd) & O_NONBLOCK, 0, 'the mode is left to the front-end')
})

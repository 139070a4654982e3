/** Whatever a guest or a front-end does, the log grows slowly. If nobody reads the log, the device goes on. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { isRoot } from '../support/device/cases.js'
import { ControlClient } from '../support/device/control-client.js'
import { Device, sleep } from '../support/device/device.js'
import { users } from '../support/device/users.js'
import { attach } from '../support/fuse/mount.js'
import { tempDir } from '../support/host/temp-dir.js'

const PROGRAM = fileURLToPath(new URL('../../program/main.js', import.meta.url))
const FLOOD = 1000
const INTERVAL_MS = 1000

t.setTimeout(200_000)

for (const [user, options] of Object.entries(users)) {
  t.test(`${user}: ${FLOOD} INITs, connections and broken messages are a line a second each`, async (t) => {
    const device = await Device.start(t, ['--keep-alive'], options)
    const startMs = performance.now()
    const fs = attach(t, device)
    for (let n = 0; n < FLOOD; n++) fs.init()
    fs.close()
    for (let n = 0; n < FLOOD / 10; n++) attach(t, device).close()
    for (let n = 0; n < FLOOD / 10; n++) await sendGarbage(device.socketPath)
    attach(t, device).init()
    await sleep(INTERVAL_MS)
    const seconds = Math.ceil((performance.now() - startMs) / INTERVAL_MS)
    const kinds = new Map<string, number>()
    for (const { msg } of device.logs()) kinds.set(msg, (kinds.get(msg) ?? 0) + 1)
    for (const kind of [
      'guest mounted the share',
      'front-end connected',
      'front-end left',
      'vhost-user connection cannot be followed: closed',
    ]) {
      const lines = kinds.get(kind) ?? 0
      t.ok(lines >= 1 && lines <= seconds + 1, `${kind}: ${lines} lines in ${seconds} s`)
    }
  })
}

/** A message that claims to be longer than any valid one. */
function sendGarbage(socketPath: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(socketPath, () => socket.write(Buffer.alloc(12, 0xff)))
    socket.on('error', () => {})
    socket.on('close', () => resolve())
    socket.resume()
  })
}

/** The program, whose log is a pipe that is read until it serves, and then full. */
async function startUnread(t: Test, sandbox: string): Promise<{ child: ChildProcess; directory: string }> {
  const directory = tempDir(t)
  const fifo = join(tempDir(t), 'log')
  execFileSync('mkfifo', [fifo])
  const ourFd = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
  // The program's own, in blocking mode.
  const itsFd = openSync(fifo, constants.O_WRONLY)
  const paths = ['--shared-dir', tempDir(t), '--socket-path', join(directory, 'socket')]
  const control = ['--control-socket', join(directory, 'control'), '--keep-alive', '--sandbox', sandbox]
  const { PATH } = process.env
  const child = spawn(process.execPath, [PROGRAM, ...paths, ...control], {
    env: { PATH },
    stdio: ['ignore', 'ignore', itsFd],
  })
  closeSync(itsFd)
  t.teardown(() => {
    child.kill('SIGKILL')
    closeSync(ourFd)
  })
  const page = Buffer.alloc(4096, 0x20)
  for (let said = ''; !said.includes('"ready'); await sleep(5)) said += readSome(ourFd)
  while (attempt(() => writeSync(ourFd, page)) > 0);
  return { child, directory }
}

function readSome(fd: number): string {
  const bytes = Buffer.alloc(65_536)
  return bytes.toString(
    'utf8',
    0,
    attempt(() => readSync(fd, bytes)),
  )
}

/** 0 where there is nothing, or no room. */
function attempt(work: () => number): number {
  try {
    return work()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    return 0
  }
}

for (const sandbox of isRoot ? ['namespace', 'none'] : ['none']) {
  t.test(`a log that nobody reads stops nothing (--sandbox ${sandbox})`, async (t) => {
    const { child, directory } = await startUnread(t, sandbox)
    const control = await ControlClient.connect(t, join(directory, 'control'))
    for (let n = 0; n < 5; n++) {
      const fs = attach(t, { socketPath: join(directory, 'socket') })
      fs.init()
      fs.close()
    }
    t.match(await control.ask('state'), { mounted: Boolean }, 'the control socket answers')
    const ended = new Promise((resolve) => child.on('exit', (status) => resolve(status)))
    child.kill('SIGTERM')
    t.equal(await ended, 0, 'a signal ends it')
  })
}

/** `listen` on the main thread: its start, its end, and the order of front-ends. */
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { AsyncBackend, listen, type VhostUserDevice } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { countOpenFds, socketPair } from '../../support/device/descriptors.js'
import { tempDir } from '../../support/host/temp-dir.js'

const EADDRINUSE = 98
/** GET_FEATURES, version 1, no payload. */
const GET_FEATURES = Uint8Array.of(1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
/** Version 3, which no front-end has. */
const NONSENSE = Uint8Array.of(1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0)

const device: VhostUserDevice = { name: 'test', queueCount: 1, process: () => 0 }

async function frontendOf(socketPath: string): Promise<Socket> {
  const socket = connect(socketPath)
  await once(socket, 'connect')
  return socket
}

/** Asks for features, and returns the length of the answer. */
async function ask(socket: Socket): Promise<number> {
  socket.write(GET_FEATURES)
  const [answer] = await once(socket, 'data')
  return answer.length
}

t.test('a server without a connection closes, and leaves nothing open', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  // Node opens descriptors of its own for the first.
  await listen(socketPath, device).close()
  const before = countOpenFds()
  for (let n = 0; n < 10; n++) {
    const server = listen(socketPath, device)
    t.ok(existsSync(socketPath))
    await Promise.all([server.close(), server.close(), server.closed])
    t.notOk(existsSync(socketPath))
  }
  t.equal(countOpenFds(), before)
})

t.test('an AbortSignal closes the server, also before it has begun', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  const controller = new AbortController()
  const server = listen(socketPath, device, { signal: controller.signal })
  const socket = await frontendOf(socketPath)
  t.equal(await ask(socket), 20)
  const left = once(socket, 'close')
  controller.abort()
  await server.closed
  await left
  await listen(socketPath, device, { signal: controller.signal }).closed
  t.notOk(existsSync(socketPath))
})

t.test('a path in use is refused, and stays as it is', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  const server = listen(socketPath, device)
  const before = countOpenFds()
  t.throws(() => listen(socketPath, device), { name: 'SystemCallError', errno: EADDRINUSE })
  t.equal(countOpenFds(), before)
  const socket = await frontendOf(socketPath)
  t.equal(await ask(socket), 20, 'the first still serves')
  socket.destroy()
  await server.close()
  const file = join(tempDir(t), 'file')
  writeFileSync(file, '')
  t.throws(() => listen(file, device), { name: 'SystemCallError', errno: EADDRINUSE })
  t.ok(existsSync(file))
})

t.test('front-ends are served one after the other, whatever the one before did', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  let resets = 0
  const server = listen(socketPath, { ...device, reset: () => resets++ })
  const first = await frontendOf(socketPath)
  t.equal(await ask(first), 20)
  const second = await frontendOf(socketPath)
  const answer = ask(second)
  first.write(NONSENSE)
  await once(first, 'close')
  t.equal(await answer, 20, 'who waited is served')
  second.destroy()
  for (let n = 0; n < 3; n++) {
    const next = await frontendOf(socketPath)
    t.equal(await ask(next), 20)
    next.destroy()
  }
  await server.close()
  t.equal(resets, 5)
})

t.test('with `once` it closes when the first has left', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  const server = listen(socketPath, device, { once: true })
  const socket = await frontendOf(socketPath)
  socket.destroy()
  await server.closed
  t.notOk(existsSync(socketPath))
})

t.test('when a device fails at its reset, the server rejects and leaves nothing open', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  const before = countOpenFds()
  const reset = () => {
    throw new Error('reset failed')
  }
  const server = listen(socketPath, { ...device, reset })
  const socket = await frontendOf(socketPath)
  socket.destroy()
  await t.rejects(server.closed, { message: 'reset failed' })
  t.notOk(existsSync(socketPath))
  t.equal(countOpenFds(), before)
})

t.test('a connected socket is served until `stop`, one at a time', async (t) => {
  const backend = new AsyncBackend(device)
  const [fd, peerFd] = socketPair()
  const [otherFd] = socketPair()
  const serving = backend.serve(fd)
  await t.rejects(backend.serve(otherFd), { message: 'this back-end serves a front-end already' })
  t.notOk(backend.notifyConfigChange(), 'this device has no configuration')
  backend.stop()
  await serving
  backend.close()
  t.ok(peerFd > 0)
})

t.test("the device's timed work is done on time, without a request", async (t) => {
  const [fd] = socketPair()
  let due = 3
  const backend: AsyncBackend = new AsyncBackend({
    ...device,
    nextDueMs: () => (due > 0 ? 5 : -1),
    progress() {
      if (due > 0 && --due === 0) backend.stop()
      return false
    },
  })
  await backend.serve(fd)
  backend.close()
  t.equal(due, 0)
})

t.test('a socket that a killed process left behind is replaced', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  native.close(native.unixListen(socketPath, 0o600))
  t.ok(existsSync(socketPath))
  await listen(socketPath, device).close()
})

t.test('a listener does not notice that another process wants its socket', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  const server = listen(socketPath, device, { once: true })
  t.throws(() => listen(socketPath, device), { code: 'EADDRINUSE' })
  const socket = await frontendOf(socketPath)
  t.equal(await ask(socket), 20, 'the first front-end of the one that it serves')
  socket.destroy()
  await server.closed
})

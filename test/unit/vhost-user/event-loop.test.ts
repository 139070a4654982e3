import { openSync } from 'node:fs'
import t, { type Test } from 'tap'
import { EventLoop } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { checkNoFdLeak, eventfd, socketPair } from '../../support/device/descriptors.js'

const { EPOLLIN, EPOLLHUP, EPOLLRDHUP, EPOLLET } = native.constants
const ENOENT = 2
const EBADF = 9
const EEXIST = 17
const EPERM = 1

function loopOf(t: Test): EventLoop {
  const loop = new EventLoop()
  t.teardown(() => loop.close())
  return loop
}

/** Node's loop goes round. */
async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await new Promise((resolve) => setImmediate(resolve))
}

/** A signalled eventfd, closed with the test. */
function signalled(t: Test): number {
  const fd = eventfd()
  t.teardown(() => native.close(fd))
  native.eventfdSignal(fd)
  return fd
}

t.test('a ready descriptor’s handler is called, with its events', async (t) => {
  const loop = loopOf(t)
  const fd = signalled(t)
  const seen: number[] = []
  t.equal(
    loop.add(fd, EPOLLIN, (events) => seen.push(events)),
    0,
  )
  loop.wait(0)
  loop.wait(-1)
  t.same(seen, [EPOLLIN, EPOLLIN], 'as long as it is ready')
  native.eventfdDrain(fd)
  loop.wait(0)
  t.equal(seen.length, 2)
})

t.test(
  'an edge-triggered descriptor calls its handler once for each signal, without being drained',
  async (t) => {
    const loop = loopOf(t)
    const fd = signalled(t)
    let calls = 0
    loop.add(fd, EPOLLIN | EPOLLET, () => calls++)
    loop.wait(0)
    loop.wait(0)
    t.equal(calls, 1)
    native.eventfdSignal(fd)
    loop.wait(0)
    t.equal(calls, 2)
  },
)

t.test('a peer that hangs up wakes the loop', async (t) => {
  const loop = loopOf(t)
  const [fd, peerFd] = socketPair()
  let seen = 0
  loop.add(fd, EPOLLIN | EPOLLRDHUP, (events) => {
    seen = events
  })
  native.close(peerFd)
  loop.wait(-1)
  t.equal(seen, EPOLLIN | EPOLLRDHUP | EPOLLHUP)
  loop.remove(fd)
  native.close(fd)
})

t.test('a removed descriptor is not called any more', async (t) => {
  const loop = loopOf(t)
  const fd = signalled(t)
  loop.add(fd, EPOLLIN, () => t.fail('called'))
  loop.remove(fd)
  loop.remove(fd)
  loop.wait(0)
  t.pass('silence')
})

t.test('an event that was fetched for a descriptor just removed reaches nobody', async (t) => {
  const loop = loopOf(t)
  const fds = [signalled(t), signalled(t)]
  const called: number[] = []
  for (const fd of fds) {
    loop.add(fd, EPOLLIN, () => {
      called.push(fd)
      for (const other of fds) loop.remove(other)
    })
  }
  loop.wait(0)
  t.equal(called.length, 1, 'the first removed the second, whose event was there already')
})

t.test('a stale event does not reach the new owner of a descriptor’s number', async (t) => {
  const loop = loopOf(t)
  const fds = [eventfd(), eventfd()]
  let replaced = -1
  for (const fd of fds) {
    native.eventfdSignal(fd)
    loop.add(fd, EPOLLIN, () => {
      const other = fds[0] === fd ? fds[1] : fds[0]
      loop.remove(other)
      native.close(other)
      replaced = eventfd()
      t.equal(replaced, other, 'the same number')
      loop.add(replaced, EPOLLIN, () => t.fail('it has not been signalled'))
      loop.remove(fd)
    })
  }
  loop.wait(0)
  t.not(replaced, -1)
  for (const fd of fds) native.close(fd)
})

t.test('a handler may add a descriptor, which the next wait knows', async (t) => {
  const loop = loopOf(t)
  const [first, second] = [signalled(t), signalled(t)]
  let calls = 0
  loop.add(first, EPOLLIN, () => {
    loop.remove(first)
    loop.add(second, EPOLLIN, () => calls++)
  })
  loop.wait(0)
  loop.wait(0)
  t.equal(calls, 1)
})

t.test('more descriptors than one wait fetches are all served', async (t) => {
  const loop = loopOf(t)
  const called = new Set<number>()
  for (let n = 0; n < 100; n++) {
    const fd = signalled(t)
    loop.add(fd, EPOLLIN, () => called.add(fd))
  }
  for (let n = 0; n < 3; n++) loop.wait(0)
  t.equal(called.size, 100)
})

t.test('descriptors that cannot be waited for are refused and leave nothing behind', async (t) => {
  const loop = loopOf(t)
  const file = openSync('/proc/self/exe', 'r')
  t.equal(
    loop.add(file, EPOLLIN, () => t.fail('called')),
    -EPERM,
    'a regular file',
  )
  native.close(file)
  t.equal(
    loop.add(file, EPOLLIN, () => t.fail('called')),
    -EBADF,
    'a closed descriptor',
  )
  const fd = signalled(t)
  let calls = 0
  loop.add(fd, EPOLLIN, () => calls++)
  t.equal(
    loop.add(fd, EPOLLIN, () => t.fail('called')),
    -EEXIST,
    'one that is waited for already',
  )
  loop.wait(0)
  t.equal(calls, 1, 'which keeps its handler')
})

t.test('Node’s own loop calls as long as a descriptor is ready', async (t) => {
  const loop = loopOf(t)
  const fd = signalled(t)
  let calls = 0
  loop.add(fd, EPOLLIN, () => {
    if (++calls === 3) native.eventfdDrain(fd)
  })
  const unwatch = loop.watch(() => loop.wait(0))
  t.equal(calls, 0, 'not before its turn')
  await turns(10)
  t.equal(calls, 3)
  native.eventfdSignal(fd)
  unwatch()
  await turns(10)
  t.equal(calls, 3, 'nor after its end')
  t.equal(native.pollStop(0), -ENOENT, 'which comes once')
})

t.test('Node’s own loop calls once for each edge', async (t) => {
  const loop = loopOf(t)
  const fd = signalled(t)
  let calls = 0
  loop.add(fd, EPOLLIN | EPOLLET, () => calls++)
  const unwatch = loop.watch(() => loop.wait(0))
  await turns(10)
  native.eventfdSignal(fd)
  await turns(10)
  unwatch()
  t.equal(calls, 2)
})

t.test('a closed loop cannot be watched', async (t) => {
  const loop = new EventLoop()
  loop.close()
  t.throws(() => loop.watch(() => {}), { message: 'uv_poll_start failed: EBADF' })
  t.throws(() => native.pollStart(0, 'no function' as never), TypeError)
})

t.test('a closed loop holds no descriptor', async (t) => {
  checkNoFdLeak(t, () => new EventLoop().close())
})

/** Methods of a user's file system that answer later: their memory is bounded, and each request is answered once. */
import t from 'tap'
import type { Request } from '#virtio-fs/request'
import { Calls } from '#virtio-fs/tree/calls'

const MIB = 1 << 20

/** A request of so many bytes, and its replies. */
function makeRequest(readableBytes: number) {
  const carrier = { readableBytes, writableBytes: 24 }
  const answers: number[] = []
  const reply = { carrier, finish: (result: number) => answers.push(result) }
  const request = { carrier, uid: 0, gid: 0, pid: 1, defer: () => reply }
  return { request: request as unknown as Request, answers }
}

t.test('promises that hold 64 MiB of requests make the file system full, until they settle', async (t) => {
  const calls = new Calls(() => {}, 0)
  const settle: (() => void)[] = []
  const made = Array.from({ length: 64 }, () => makeRequest(MIB))
  for (const { request } of made) {
    t.equal(calls.isFull, false)
    const start = () => new Promise<number>((resolve) => settle.push(() => resolve(0)))
    calls.run(request, 'write', undefined, start, () => 8)
  }
  t.equal(calls.isFull, true)
  settle[0]?.()
  await new Promise(setImmediate)
  t.equal(calls.isFull, false, 'one has been answered')
  t.same(made[0]?.answers, [8])
  calls.abandon()
  t.same(made[1]?.answers, [-5], 'the others are given up with EIO')
  for (const next of settle) next()
  await new Promise(setImmediate)
  t.same(made[1]?.answers, [-5], 'and not answered again')
  for (let n = 0; n < 63; n++) {
    const { request } = makeRequest(MIB)
    calls.run(
      request,
      'write',
      undefined,
      () => new Promise<number>(() => {}),
      () => 8,
    )
  }
  t.equal(calls.isFull, false, 'nothing of the abandoned ones is counted')
  calls.abandon()
})

t.test('a thenable that calls back at once, twice, and then throws is answered once', async (t) => {
  const calls = new Calls(() => {}, 0)
  const { request, answers } = makeRequest(100)
  const thenable = {
    // biome-ignore lint/suspicious/noThenProperty: such objects are what this is about
    then(resolve: (value: number) => void) {
      resolve(1)
      resolve(2)
      throw new Error('after the answer')
    },
  }
  calls.run(
    request,
    'write',
    undefined,
    () => thenable as unknown as Promise<number>,
    () => 8,
  )
  await new Promise(setImmediate)
  t.same(answers, [8])
  calls.abandon()
})

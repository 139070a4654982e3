/** The program of threads for queues, in memory: what it says of itself, although its starter blocks. */
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import t from 'tap'
import { EventLoop, Wakeup } from 'vhost-user-ts'
import { openPath } from '../../../src/passthrough/descriptors.js'
import { QueueProgram } from '../../../src/share/queue-program.js'
import type { QueueThreadNews, QueueThreadStart } from '../../../src/share/queue-thread-messages.js'

const TIMEOUT_MS = 10_000

/** Runs a program, without Node's event loop. Returns its news, once its end is signalled. */
function newsOf(text: string): QueueThreadNews | undefined {
  const { port1, port2 } = new MessageChannel()
  const ending = new Wakeup()
  const loop = new EventLoop()
  let hasEnded = false
  loop.addReadable(ending.fd, () => {
    hasEnded = true
  })
  const program = new QueueProgram({ text })
  // The program looks at nothing else.
  const start = { queueThread: 1, procFd: openPath('/proc/self/fd'), port: port2, endFd: ending.fd }
  program.start(start as unknown as QueueThreadStart, [port2])
  const untilMs = performance.now() + TIMEOUT_MS
  while (!hasEnded && performance.now() < untilMs) loop.wait(100)
  const news = receiveMessageOnPort(port1)?.message as QueueThreadNews | undefined
  loop.close()
  port1.close()
  return news
}

for (const [what, text, reason] of [
  ['cannot be parsed', 'this is no program', /Unexpected identifier/],
  ['fails at once', 'throw new Error("a bug")', /a bug/],
] as const) {
  t.test(`a program that ${what} says so`, async (t) => {
    const news = newsOf(text)
    t.match(news, { type: 'failed', hasBegun: false, error: { message: reason } })
    if (news?.type === 'failed')
      t.match(news.error.stack, /share-worker\.cjs/, 'parsed once, under its own name')
  })
}

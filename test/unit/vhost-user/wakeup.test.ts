import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { EventLoop, Listener, Wakeup } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import { tempDir } from '../../support/host/temp-dir.js'

t.test('another thread wakes a loop that blocks', async (t) => {
  const loop = new EventLoop()
  const wakeup = new Wakeup()
  let calls = 0
  wakeup.receive(loop, () => calls++)
  const module = import.meta.resolve('vhost-user-ts')
  const worker = new Worker(
    `import('${module}').then(({ Wakeup }) => new Wakeup(require('node:worker_threads').workerData).send())`,
    { eval: true, workerData: wakeup.fd },
  )
  loop.wait(-1)
  t.equal(calls, 1)
  loop.wait(0)
  t.equal(calls, 1, 'once is enough')
  wakeup.send()
  wakeup.send()
  loop.wait(-1)
  t.equal(calls, 2, 'two at once are one')
  await worker.terminate()
  loop.close()
  native.close(wakeup.fd)
})

t.test('a listener takes connections without waiting', async (t) => {
  const path = join(tempDir(t), 'socket')
  const listener = new Listener(native.unixListen(path, 0o600))
  t.equal(listener.accept(), -11, 'EAGAIN: there is none')
  const client = native.unixConnect(path, 0)
  const fd = listener.accept()
  t.ok(fd >= 0)
  for (const open of [client, fd, listener.fd]) native.close(open)
})

import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { connectSoon } from '../../support/device/eager-frontend.js'
import { tempDir } from '../../support/host/temp-dir.js'
import { KNOWS_OF_FIRST, SECOND_IS_SERVED, type SlowDeviceData } from '../../support/rings/slow-device.js'

const TIMEOUT_MS = 10_000
/** Long enough for the driver to go to sleep. */
const FIRST_MS = 200

t.test('a driver that sleeps is told of the first of a batch while the second is served', async (t) => {
  const socketPath = join(tempDir(t), 'socket')
  const flags = new Int32Array(new SharedArrayBuffer(8))
  const workerData: SlowDeviceData = { socketPath, flags, firstMs: FIRST_MS, secondAtMostMs: TIMEOUT_MS }
  const worker = new Worker(new URL('../../support/rings/slow-device.js', import.meta.url), { workerData })
  const ended = new Promise((resolve) => worker.once('exit', resolve))

  const frontend = await connectSoon(socketPath)
  frontend.negotiate()
  const queue = frontend.addQueue(4)
  for (let n = 0; n < 2; n++) queue.submit([], [{ gpa: frontend.allocate(16, 16), lenBytes: 16 }])
  queue.kick()
  t.equal(queue.reap(2 * TIMEOUT_MS)?.writtenBytes, 1)
  t.equal(Atomics.load(flags, SECOND_IS_SERVED), 0)
  Atomics.store(flags, KNOWS_OF_FIRST, 1)
  Atomics.notify(flags, KNOWS_OF_FIRST)
  t.equal(queue.reap(TIMEOUT_MS)?.writtenBytes, 2, 'and of the last')
  frontend.close()
  t.equal(await ended, 0)
})

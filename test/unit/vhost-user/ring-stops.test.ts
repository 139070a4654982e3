/**
 * Requests that are completed because their ring stops. Their driver is told: nobody else is there to do it where the ring
 * runs next.
 */
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import type { Frontend } from 'vhost-user-ts/frontend'
import { takeSignal } from '../../support/device/descriptors.js'
import { connectSoon } from '../../support/device/eager-frontend.js'
import { tempDir } from '../../support/host/temp-dir.js'
import type { DrainingDeviceData } from '../../support/rings/draining-device.js'

const TIMEOUT_MS = 10_000
const MIB = 2 ** 20

interface Stop {
  readonly name: string
  readonly run: (frontend: Frontend) => void
}

const stops: readonly Stop[] = [
  { name: 'the guest stops', run: (frontend) => void frontend.stopQueue(0) },
  { name: 'memory is replaced', run: (frontend) => frontend.sendMemoryTable() },
  { name: 'memory is removed', run: (frontend) => frontend.removeRegion(MIB) },
]

async function check(t: Test, { run }: Stop, blocking: boolean, eventIdx: boolean): Promise<void> {
  const socketPath = join(tempDir(t), 'socket')
  const taken = new Int32Array(new SharedArrayBuffer(4))
  const workerData: DrainingDeviceData = { socketPath, blocking, taken }
  const worker = new Worker(new URL('../../support/rings/draining-device.js', import.meta.url), {
    workerData,
  })
  const ended = new Promise((resolve) => worker.once('exit', resolve))
  const frontend = await connectSoon(socketPath, TIMEOUT_MS, { eventIdx, regionBytes: [MIB, MIB] })
  frontend.negotiate()
  const queue = frontend.addQueue(4)
  queue.submit([], [{ gpa: frontend.allocate(16, 16), lenBytes: 16 }])
  queue.kick()
  Atomics.wait(taken, 0, 0, TIMEOUT_MS)
  t.equal(taken[0], 1, 'the request is under way')
  // What starting the ring has signalled does not count.
  takeSignal(queue.callFd)
  run(frontend)
  t.ok(takeSignal(queue.callFd), 'the driver is told')
  t.equal(queue.reap(0)?.writtenBytes, 1)
  frontend.close()
  t.equal(await ended, 0)
}

for (const stop of stops)
  for (const blocking of [true, false])
    for (const eventIdx of [true, false]) {
      const loop = blocking ? 'blocking loop' : "Node's loop"
      t.test(`${stop.name}: ${loop}, ${eventIdx ? 'with' : 'without'} event-idx`, (t) =>
        check(t, stop, blocking, eventIdx),
      )
    }

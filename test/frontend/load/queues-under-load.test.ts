/** Queues stop and start under load, one or many: no request is lost or carried out twice. */
import { writeFileSync } from 'node:fs'
import t from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import { Device } from '../../support/device/device.js'
import { AppendLoad } from '../../support/fuse/append-load.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { HIPRIO_QUEUE, REQUEST_QUEUE } from '../../support/fuse/fuse-client.js'
import { whole } from '../../support/fuse/layouts.js'
import { mount } from '../../support/fuse/mount.js'

const ROUNDS = 100
/** As many as fit into 128 direct descriptors, and a few more. */
const IN_FLIGHT = 20

const device = await Device.start(t, ['--keep-alive'])

for (const [indirect, eventIdx] of [
  [true, true],
  [false, true],
  [false, false],
] as const) {
  const variant = `${indirect ? 'indirect' : 'direct'}-${eventIdx ? 'event-idx' : 'no-event-idx'}`
  const options = { queueSize: 128, indirect, eventIdx, requestQueues: 4 }

  t.test(`a queue is stopped and started while requests wait in it (${variant})`, async (t) => {
    const fs = mount(t, device, options)
    const load = new AppendLoad(device, fs, `stop-${variant}`)
    for (let round = 0; round < ROUNDS; round++) {
      load.submit(round % IN_FLIGHT, REQUEST_QUEUE)
      const base = fs.frontend.stopQueue(REQUEST_QUEUE)
      // Nobody waits for these kicks: the requests wait until the queue runs again.
      load.submit(1 + (round % 3), REQUEST_QUEUE)
      fs.frontend.startQueue(REQUEST_QUEUE, base)
      load.collect(REQUEST_QUEUE)
    }
    load.assertExact()
    t.pass('every record once')
    fs.close()
  })

  t.test(`a queue is disabled and enabled, and keeps its place (${variant})`, async (t) => {
    const fs = mount(t, device, options)
    const load = new AppendLoad(device, fs, `enable-${variant}`)
    for (let round = 0; round < ROUNDS; round++) {
      load.submit(round % IN_FLIGHT, REQUEST_QUEUE)
      fs.frontend.setState(FrontendRequest.SET_VRING_ENABLE, REQUEST_QUEUE, 0)
      load.submit(1 + (round % 3), REQUEST_QUEUE)
      fs.frontend.setState(FrontendRequest.SET_VRING_ENABLE, REQUEST_QUEUE, 1)
      load.collect(REQUEST_QUEUE)
    }
    load.assertExact()
    t.pass('every record once')
    fs.close()
  })

  t.test(`the rings' addresses are sent again while they run (${variant})`, async (t) => {
    const fs = mount(t, device, options)
    const load = new AppendLoad(device, fs, `addresses-${variant}`)
    for (let round = 0; round < ROUNDS; round++) {
      load.submit(1 + (round % IN_FLIGHT), REQUEST_QUEUE)
      fs.frontend.sendAddresses(REQUEST_QUEUE)
      load.collect(REQUEST_QUEUE)
    }
    load.assertExact()
    t.pass('every record once')
    fs.close()
  })

  t.test(`four request queues and the priority queue at once (${variant})`, async (t) => {
    const fs = mount(t, device, options)
    writeFileSync(`${device.directory}/forgotten`, '')
    const load = new AppendLoad(device, fs, `queues-${variant}`)
    const queues = [1, 2, 3, 4]
    for (let round = 0; round < ROUNDS; round++) {
      for (const queue of queues) load.submit(1 + ((round * queue) % 10), queue)
      if (round % 10 === 0) {
        const [stopped] = queues.splice(round % 4, 1)
        const base = fs.frontend.stopQueue(stopped)
        load.submit(2, stopped)
        fs.frontend.startQueue(stopped, base)
        queues.push(stopped)
      }
      for (const queue of queues) load.collect(queue)
      const { nodeid } = fs.lookup(ROOT_ID, 'forgotten')
      fs.forget(nodeid, 1)
    }
    load.assertExact()
    t.equal(fs.frontend.queues[HIPRIO_QUEUE].inFlightCount, 0)
    fs.close()
  })
}

t.test('a full queue is served whole, again and again', async (t) => {
  for (const queueSize of [2, 4, 128, 1024]) {
    const fs = mount(t, device, { queueSize, indirect: true, layout: whole(0) })
    const load = new AppendLoad(device, fs, `full-${queueSize}`)
    for (let round = 0; round < 5; round++) {
      load.submit(queueSize, REQUEST_QUEUE)
      load.collect(REQUEST_QUEUE)
    }
    load.assertExact()
    t.pass(`${queueSize} at once`)
    fs.close()
  }
})

t.test('ring indices wrap at 65536', async (t) => {
  const fs = mount(t, device, { queueSize: 1024, indirect: true })
  const load = new AppendLoad(device, fs, 'wrap')
  for (let n = 0; n < 70_000; n += 1000) {
    load.submit(1000, REQUEST_QUEUE)
    load.collect(REQUEST_QUEUE)
  }
  load.assertExact()
  t.pass('70,000 records, each once')
  fs.close()
})

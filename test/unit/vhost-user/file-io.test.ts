/** The asynchronous engine of the package, by io_uring and by threads, on either loop. */
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import { type DescriptorChain, FileIo } from 'vhost-user-ts'
import type { DriverVirtqueue, Frontend } from 'vhost-user-ts/frontend'
import { connectSoon } from '../../support/device/eager-frontend.js'
import { tempDir } from '../../support/host/temp-dir.js'
import { CALL_BYTES, Call, type FileIoDeviceData, RESULT_BYTES } from '../../support/rings/file-io-device.js'

const TIMEOUT_MS = 20_000
const EBADF = 9
const FILE_BYTES = 3 * 2 ** 20

class Client {
  private readonly queue: DriverVirtqueue
  private readonly replies = new Map<number, number>()

  constructor(readonly frontend: Frontend) {
    frontend.negotiate()
    this.queue = frontend.addQueue(256)
  }

  /** Sends a call with data, in pieces of 4 KiB as a guest's pages are, and room for so many bytes. */
  send(call: number, offsetBytes: number, data: Uint8Array, roomBytes: number): number {
    const { frontend, queue } = this
    const header = new DataView(new ArrayBuffer(CALL_BYTES))
    header.setUint8(0, call)
    header.setUint32(1, offsetBytes, true)
    const readable = [frontend.write(frontend.allocate(CALL_BYTES, 16), new Uint8Array(header.buffer))]
    for (let at = 0; at < data.length; at += 4096) {
      const page = data.subarray(at, at + 4096)
      readable.push(frontend.write(frontend.allocate(page.length, 4096), page))
    }
    const gpa = frontend.allocate(RESULT_BYTES + roomBytes, 16)
    const head = queue.submit(readable, [{ gpa, lenBytes: RESULT_BYTES + roomBytes }])
    this.replies.set(head, gpa)
    queue.kick()
    return head
  }

  next(): { head: number; result: number; bytes: Uint8Array } {
    const used = this.queue.reap(TIMEOUT_MS)
    if (used === undefined) throw new Error('no answer')
    const reply = this.frontend.read(this.replies.get(used.head) ?? 0, used.writtenBytes)
    const result = new DataView(reply.buffer).getInt32(0, true)
    return { head: used.head, result, bytes: reply.subarray(RESULT_BYTES) }
  }

  call(
    call: number,
    offsetBytes = 0,
    data = new Uint8Array(0),
    roomBytes = 0,
  ): { result: number; bytes: Uint8Array } {
    this.send(call, offsetBytes, data, roomBytes)
    return this.next()
  }
}

async function withDevice(
  t: Test,
  options: Partial<FileIoDeviceData>,
  use: (client: Client, path: string) => void,
): Promise<void> {
  const directory = tempDir(t)
  const path = join(directory, 'file')
  writeFileSync(path, '')
  truncateSync(path, FILE_BYTES)
  const socketPath = join(directory, 'socket')
  const workerData = { socketPath, path, uring: true, blocking: false, late: false, ...options }
  const worker = new Worker(new URL('../../support/rings/file-io-device.js', import.meta.url), { workerData })
  t.teardown(() => worker.terminate())
  const exited = once(worker, 'exit')
  const [engine] = await once(worker, 'message')
  t.comment(`by ${engine}`)
  if (options.uring === false) t.equal(engine, 'threads')
  const client = new Client(await connectSoon(socketPath))
  use(client, path)
  client.frontend.close()
  t.same(await exited, [0], 'the thread ends by itself')
}

for (const uring of [true, false]) {
  for (const [name, loop] of [
    ['promises', {}],
    ['promises that come late', { late: true }],
    ['callbacks on a blocking loop', { blocking: true }],
  ] as const) {
    t.test(`${uring ? 'io_uring' : 'threads'}, ${name}`, async (t) => {
      await withDevice(t, { uring, ...loop }, (client, path) => {
        for (const [offsetBytes, lenBytes] of [
          [0, 1],
          [4095, 4098],
          [2 ** 20, 600_000],
        ] as const) {
          const data = randomFillSync(new Uint8Array(lenBytes))
          t.equal(client.call(Call.WRITE, offsetBytes, data).result, lenBytes)
          t.ok(
            readFileSync(path)
              .subarray(offsetBytes, offsetBytes + lenBytes)
              .equals(data),
            `${lenBytes} bytes written`,
          )
          const { result, bytes } = client.call(Call.READ, offsetBytes, undefined, lenBytes)
          t.equal(result, lenBytes)
          t.ok(Buffer.from(bytes).equals(data), `${lenBytes} bytes read`)
          client.frontend.freeBuffers()
        }
        t.equal(
          client.call(Call.READ, FILE_BYTES - 10, undefined, 100).result,
          10,
          'short at the end of the file',
        )
        t.equal(client.call(Call.READ, FILE_BYTES, undefined, 100).result, 0, 'nothing behind it')
        t.equal(client.call(Call.READ_CLOSED, 0, undefined, 10).result, -EBADF, 'an error is a result')
        t.equal(client.call(Call.FLUSH).result, 0)
      })
    })
  }
}

t.test('a hundred transfers in flight all come back, each its own', async (t) => {
  await withDevice(t, {}, (client, path) => {
    const pages = randomFillSync(new Uint8Array(100 * 4096))
    writeFileSync(path, pages)
    const asked = new Map<number, number>()
    for (let n = 0; n < 100; n++) asked.set(client.send(Call.READ, 4096 * n, new Uint8Array(0), 4096), n)
    for (let n = 0; n < 100; n++) {
      const { head, result, bytes } = client.next()
      const page = asked.get(head) ?? -1
      asked.delete(head)
      t.ok(
        result === 4096 && Buffer.from(bytes).equals(pages.subarray(4096 * page, 4096 * (page + 1))),
        `page ${page}`,
      )
    }
  })
})

t.test('space is allocated, and whole file systems are synchronised', async (t) => {
  await withDevice(t, {}, (client, path) => {
    t.equal(client.call(Call.ALLOCATE, FILE_BYTES).result, 0)
    t.equal(readFileSync(path).length, FILE_BYTES + 4096)
    t.equal(client.call(Call.SYNCFS).result, 0)
  })
})

t.test('a front-end may leave in the middle of transfers', async (t) => {
  for (const uring of [true, false]) {
    await withDevice(t, { uring }, (client, path) => {
      for (let n = 0; n < 50; n++) client.send(Call.READ, 4096 * n, new Uint8Array(0), 65_536)
      t.ok(path)
    })
  }
})

t.test('the device of a FileIo must be served', async (t) => {
  const io = new FileIo({ maxThreads: 1 })
  await t.rejects(io.fsync(0), { message: 'no device that is served names this FileIo as its io' })
  await t.rejects(io.read({} as DescriptorChain, { fd: 0, offsetBytes: 0, lenBytes: 1 }), /no device/)
  t.throws(() => new FileIo({ maxThreads: 0 }))
})

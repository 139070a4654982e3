/** The package's block device, without a guest: replies to valid and invalid requests. */
import { spawn } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { type DriverVirtqueue, type Frontend, FrontendRequest } from 'vhost-user-ts/frontend'
import { ConfigAccess } from '#vhost-user/session/wire'
import { connectSoon } from '../../support/device/eager-frontend.js'
import { tempDir } from '../../support/host/temp-dir.js'

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url))
const EXAMPLE = join(ROOT, 'src/vhost-user/examples/block-device.js')
const TIMEOUT_MS = 20_000
const SECTOR_BYTES = 512
const SECTORS = 4096
const FLUSH = 1n << 9n

const IN = 0
const OUT = 1
const FLUSH_OUT = 4
const OK = 0
const IOERR = 1
const UNSUPP = 2
const NEVER = 0xff

class Disk {
  readonly queue: DriverVirtqueue

  constructor(readonly frontend: Frontend) {
    frontend.negotiate()
    this.queue = frontend.addQueue(128)
  }

  /** Sends one request. Returns its status and the data read. */
  ask(
    type: number,
    sector: bigint,
    data: Uint8Array | number = 0,
  ): { status: number; bytes: Uint8Array; usedBytes: number } {
    const { frontend, queue } = this
    frontend.freeBuffers()
    const header = new DataView(new ArrayBuffer(16))
    header.setUint32(0, type, true)
    header.setBigUint64(8, sector, true)
    const readable = [frontend.write(frontend.allocate(16, 16), new Uint8Array(header.buffer))]
    if (typeof data !== 'number') readable.push(frontend.write(frontend.allocate(data.length, 512), data))
    const lenBytes = typeof data === 'number' ? data : 0
    const gpa = frontend.allocate(lenBytes + 1, 512)
    frontend.write(gpa + lenBytes, Uint8Array.of(NEVER))
    queue.submit(readable, [{ gpa, lenBytes: lenBytes + 1 }])
    queue.kick()
    const used = queue.reap(TIMEOUT_MS)
    if (used === undefined) throw new Error('no answer')
    const bytes = frontend.read(gpa, lenBytes + 1)
    return {
      status: bytes[lenBytes] ?? NEVER,
      bytes: bytes.subarray(0, lenBytes),
      usedBytes: used.writtenBytes,
    }
  }
}

async function withDisk(
  t: Test,
  deviceFeatures: bigint,
  use: (disk: Disk, image: string) => void,
): Promise<void> {
  const directory = tempDir(t)
  const image = join(directory, 'image')
  writeFileSync(image, '')
  truncateSync(image, SECTORS * SECTOR_BYTES)
  const socketPath = join(directory, 'socket')
  const device = spawn(process.execPath, [EXAMPLE, image, socketPath], { stdio: 'inherit' })
  t.teardown(() => device.kill('SIGKILL'))
  const frontend = await connectSoon(socketPath, TIMEOUT_MS, { deviceFeatures })
  use(new Disk(frontend), image)
  frontend.close()
  device.kill('SIGTERM')
  t.same(await once(device, 'exit'), [0, null])
}

const random = (lenBytes: number) => randomFillSync(new Uint8Array(lenBytes))

for (const [name, features] of [
  ['that flushes', FLUSH],
  ['that never flushes', 0n],
] as const) {
  t.test(`a driver ${name} reads what it wrote, and so does the host`, async (t) => {
    await withDisk(t, features, (disk, image) => {
      for (const [sector, lenBytes] of [
        [0n, 512],
        [8n, 4096],
        [100n, 1024 * 1024],
        [BigInt(SECTORS - 1), 512],
      ] as const) {
        const data = random(lenBytes)
        t.same(disk.ask(OUT, sector, data), { status: OK, bytes: new Uint8Array(0), usedBytes: 1 })
        t.equal(disk.ask(FLUSH_OUT, 0n).status, OK)
        const { status, bytes, usedBytes } = disk.ask(IN, sector, lenBytes)
        t.same([status, usedBytes], [OK, lenBytes + 1])
        t.ok(Buffer.from(bytes).equals(data), `${lenBytes} bytes at sector ${sector}`)
        const at = Number(sector) * SECTOR_BYTES
        t.ok(
          readFileSync(image)
            .subarray(at, at + lenBytes)
            .equals(data),
          'in the image',
        )
      }
    })
  })
}

t.test('requests that cannot be served are errors, and change nothing', async (t) => {
  await withDisk(t, FLUSH, (disk, image) => {
    for (const sector of [BigInt(SECTORS), BigInt(SECTORS - 1), 1n << 53n, (1n << 64n) - 1n]) {
      t.equal(disk.ask(IN, sector, 1024).status, IOERR, `read at ${sector}`)
      t.equal(disk.ask(OUT, sector, random(1024)).status, IOERR, `write at ${sector}`)
    }
    for (const type of [2, 3, 8, 11, 0xffff_ffff]) t.equal(disk.ask(type, 0n).status, UNSUPP, `type ${type}`)
    t.equal(readFileSync(image).length, SECTORS * SECTOR_BYTES)
    t.ok(readFileSync(image).every((byte) => byte === 0))
    t.equal(disk.ask(OUT, 0n, random(512)).status, OK, 'and it goes on')
  })
})

t.test('requests without a header, or without room for a status, are given back', async (t) => {
  await withDisk(t, FLUSH, ({ frontend, queue }) => {
    const short = frontend.write(frontend.allocate(15, 16), new Uint8Array(15))
    const header = frontend.write(frontend.allocate(16, 16), new Uint8Array(16))
    for (const [readable, writable] of [
      [[short], [{ gpa: short.gpa, lenBytes: 1 }]],
      [[header], []],
    ] as const) {
      queue.submit(readable, writable)
      queue.kick()
      t.equal(queue.reap(TIMEOUT_MS)?.writtenBytes, 0)
    }
  })
})

t.test('the configuration space has capacity, segments and queues', async (t) => {
  await withDisk(t, FLUSH, ({ frontend }) => {
    const space = new DataView(frontend.readConfig(0, 60).buffer)
    t.equal(space.getBigUint64(0, true), BigInt(SECTORS))
    t.equal(space.getUint32(12, true), 126)
    t.equal(space.getUint16(34, true), 4)
    t.throws(() => frontend.readConfig(250, 8), { code: 'BAD_FRAME' })
  })
})

t.test('the driver turns the write-back cache off and on, and nothing else', async (t) => {
  await withDisk(t, FLUSH, ({ frontend }) => {
    const set = (offsetBytes: number, value: number) => {
      const { body } = frontend.connection
      ConfigAccess.writeHeader(body, offsetBytes, 1, 0)
      body.setUint8(ConfigAccess.HEADER_BYTES, value)
      frontend.request(FrontendRequest.SET_CONFIG, ConfigAccess.HEADER_BYTES + 1)
    }
    t.same(frontend.readConfig(32, 1), Uint8Array.of(1))
    set(32, 0)
    t.same(frontend.readConfig(32, 1), Uint8Array.of(0))
    t.throws(() => set(0, 1), { code: 'BAD_REQUEST' })
    t.same(frontend.readConfig(0, 1), Uint8Array.of(0), 'the capacity stays')
    frontend.request(FrontendRequest.RESET_DEVICE, 0)
    t.same(frontend.readConfig(32, 1), Uint8Array.of(1), 'on after a reset')
  })
})

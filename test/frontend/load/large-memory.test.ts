/**
 * A guest of 6 GiB. Its memory lies below and above 4 GiB, more than a typed array of Node 20 covers, and each region
 * is seen through windows of 1 GiB. Buffers lie below, above and across each of these borders.
 */
import { readFileSync } from 'node:fs'
import t from 'tap'
import type { Buffer } from 'vhost-user-ts/frontend'
import { Device } from '../../support/device/device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import type { Layout } from '../../support/fuse/layouts.js'
import { attach } from '../../support/fuse/mount.js'
import { pattern } from '../../support/pattern.js'

const O_RDWR = 2
const GIB = 2 ** 30
const DATA_BYTES = 300_001

/** Places the request around `requestGpa` and the reply around `replyGpa`: one half before, the other half after it. */
function around(requestGpa: number, replyGpa: number): Layout {
  return {
    name: `around ${requestGpa} and ${replyGpa}`,
    place(_frontend, pieceBytes, _maxSegments, side): Buffer[] {
      const lenBytes = pieceBytes.reduce((sum, n) => sum + n, 0)
      return [{ gpa: (side === 0 ? requestGpa : replyGpa) - Math.floor(lenBytes / 2), lenBytes }]
    },
  }
}

/** Small structs and data, each way, byte by byte. */
function moveData(fs: FuseGuest, path: string, name: string): boolean {
  const { nodeid, handle } = fs.create(ROOT_ID, name, O_RDWR)
  const data = pattern(DATA_BYTES, name.length)
  const wrote = fs.write(nodeid, handle, 5, data) === DATA_BYTES
  const arrived = readFileSync(`${path}/${name}`).subarray(5).equals(data)
  const readBack = globalThis.Buffer.from(fs.read(nodeid, handle, 5, DATA_BYTES)).equals(data)
  const looked = fs.lookup(ROOT_ID, name).attr.size === BigInt(DATA_BYTES + 5)
  fs.release(nodeid, handle)
  return wrote && arrived && readBack && looked
}

const device = await Device.start(t, ['--keep-alive'])
const memories: readonly (readonly [string, readonly number[], number | undefined])[] = [
  ['one region of 6 GiB', [6 * GIB], undefined],
  ['QEMU’s: 3 GiB, a hole up to 4 GiB, 3 GiB above it', [3 * GIB], 4 * GIB],
  ['regions that touch at 4 GiB', [4 * GIB, 2 * GIB], undefined],
]

for (const [name, regionBytes, upperGpa] of memories) {
  t.test(name, async (t) => {
    const fs = attach(t, device, { regionBytes })
    if (upperGpa !== undefined) fs.frontend.addRegion(3 * GIB, upperGpa)
    fs.init()
    const endGpa = upperGpa === undefined ? 6 * GIB : 7 * GIB
    const places = [
      [5 * GIB + 12_345, 4.5 * GIB + 7],
      [5 * GIB, 5 * GIB + 0x10_0000],
      [endGpa - 400_000, endGpa - 200_001],
      [1 * GIB, 2 * GIB],
      [4.25 * GIB, 1.5 * GIB],
      ...(upperGpa === undefined ? [[4 * GIB, 4 * GIB + 0x10_0000]] : []),
      ...(upperGpa === undefined ? [[3 * GIB, 4 * GIB]] : []),
    ]
    places.forEach(([requestGpa, replyGpa], n) => {
      fs.layout = around(requestGpa, replyGpa)
      t.ok(moveData(fs, device.directory, `file-${n}-${requestGpa}`), fs.layout.name)
    })
    fs.close()
  })
}

t.test('rings above 4 GiB are served', async (t) => {
  const fs = attach(t, device, { regionBytes: [6 * GIB], ringsFromGpa: 5 * GIB, queueSize: 1024 })
  fs.init()
  t.ok(fs.frontend.queues.every(({ layout }) => layout.descGpa >= 5 * GIB))
  t.ok(moveData(fs, device.directory, 'above'))
  fs.close()
})

t.test('the device still serves', async (t) => {
  t.ok(device.alive)
})

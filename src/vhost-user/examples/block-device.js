// @ts-check
/** A virtio block device (virtio 1.3, 5.2) over an image file: node block-device.js IMAGE SOCKET. SIGHUP: it has grown. */
import { open } from 'node:fs/promises'
import { FileIo, featureBits, hasBit, listen } from 'vhost-user-ts'

const [imagePath = '', socketPath = ''] = process.argv.slice(2)
const QUEUES = 4
const SECTOR_BYTES = 512
const HEADER_BYTES = 16
const WRITEBACK_AT = 32 // a byte of the configuration space: 0, and each write is to be durable
const Feature = { SEG_MAX: 2, FLUSH: 9, CONFIG_WCE: 11, MQ: 12 }
const Type = { IN: 0, OUT: 1, FLUSH: 4 }
const Status = { OK: 0, IOERR: 1, UNSUPP: 2 }
const RWF_DSYNC = 2

const image = await open(imagePath, 'r+')
const space = new DataView(new ArrayBuffer(36))
const capacity = () => Number(space.getBigUint64(0, true)) * SECTOR_BYTES
const measure = async () =>
  space.setBigUint64(0, BigInt((await image.stat()).size) / BigInt(SECTOR_BYTES), true)
space.setUint32(12, 126, true) // seg_max
space.setUint8(WRITEBACK_AT, 1)
space.setUint16(34, QUEUES, true) // num_queues
await measure()

const io = new FileIo()
let flushes = true

/** @type {import('vhost-user-ts').VhostUserDevice} */
const device = {
  name: 'block',
  queueCount: QUEUES,
  features: featureBits(Feature.SEG_MAX, Feature.FLUSH, Feature.CONFIG_WCE, Feature.MQ),
  config: new Uint8Array(space.buffer),
  io,
  acceptFeatures(features) {
    flushes = hasBit(features, Feature.FLUSH) // a driver that never does relies on each write
  },
  writeConfig(offsetBytes, bytes) {
    if (offsetBytes !== WRITEBACK_AT || bytes.length !== 1) return false
    space.setUint8(WRITEBACK_AT, Number(bytes[0]) & 1)
    return true
  },
  reset() {
    space.setUint8(WRITEBACK_AT, 1)
  },
  async process(chain) {
    const header = new DataView(new ArrayBuffer(HEADER_BYTES))
    const readable = chain.read(0, HEADER_BYTES, new Uint8Array(header.buffer), 0)
    if (!readable || chain.writableBytes === 0) return 0 // no request, or nobody to tell
    const statusAt = chain.writableBytes - 1
    const offsetBytes = Number(header.getBigUint64(8, true)) * SECTOR_BYTES
    const status = await carryOut(chain, header.getUint32(0, true), offsetBytes, statusAt)
    chain.write(statusAt, 1, Uint8Array.of(status), 0)
    return chain.writableBytes
  },
}

/** @param {import('vhost-user-ts').DescriptorChain} chain */
async function carryOut(
  chain,
  /** @type {number} */ type,
  /** @type {number} */ offsetBytes,
  /** @type {number} */ room,
) {
  const { fd } = image
  if (type === Type.FLUSH) return (await io.fdatasync(fd)) === 0 ? Status.OK : Status.IOERR
  if (type !== Type.IN && type !== Type.OUT) return Status.UNSUPP
  const lenBytes = type === Type.IN ? room : chain.readableBytes - HEADER_BYTES
  if (offsetBytes + lenBytes > capacity()) return Status.IOERR
  const bytes = { fd, offsetBytes, lenBytes }
  const flags = flushes && space.getUint8(WRITEBACK_AT) === 1 ? 0 : RWF_DSYNC
  const done =
    type === Type.IN
      ? await io.read(chain, bytes)
      : await io.write(chain, { ...bytes, skipBytes: HEADER_BYTES, flags })
  return done === lenBytes ? Status.OK : Status.IOERR
}

// A disk ends every request: a queue that stops waits for it, however long.
const server = listen(socketPath, device, { stopTimeoutMs: Number.POSITIVE_INFINITY })
process.on('SIGHUP', () => measure().then(() => server.notifyConfigChange()))
process.on('SIGTERM', () => server.close())
await server.closed

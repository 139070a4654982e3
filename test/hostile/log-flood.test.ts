/** Faults of a guest or a front-end are logged, at most one line of each kind in a second. */
import { strict as assert } from 'node:assert'
import t from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import { Device, sleep } from '../support/device/device.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { EMPTY, REQUEST_QUEUE } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { RawRing } from '../support/fuse/raw-ring.js'

const FLOOD = 1000
const INTERVAL_MS = 1000
/** The level of warnings in pino. */
const WARNING = 40

/** Causes one fault of each kind, by the name of the kind in the log. */
const wrongs: Record<string, (fs: FuseGuest) => void> = {
  'vhost-user request refused': (fs) => {
    assert.throws(() => fs.frontend.request(FrontendRequest.SET_VRING_NUM, 7), { code: 'BAD_REQUEST' })
  },
  'arguments too short or too long': (fs) =>
    fs.call({ opcode: Op.OPEN, nodeid: ROOT_ID, reply: { argBytes: 16 } }),
  'request of a wrong length': (fs) =>
    fs.call({
      opcode: Op.UNLINK,
      nodeid: ROOT_ID,
      args: Uint8Array.of(0x61, 0),
      headerLenBytes: 7,
      reply: EMPTY,
    }),
  'bad name': (fs) =>
    fs.call({ opcode: Op.UNLINK, nodeid: ROOT_ID, args: Uint8Array.of(0x2f, 0), reply: EMPTY }),
  'no room for the reply': (fs) => fs.call({ opcode: Op.STATFS, nodeid: ROOT_ID, reply: EMPTY }),
  'bad descriptor chain: address outside guest memory': (fs) =>
    new RawRing(fs, REQUEST_QUEUE).submitChain([{ gpa: 2n ** 50n, lenBytes: 40 }]),
}

const device = await Device.start(t)

/** The number of lines of a kind, and the number of faults that they count. */
function logged(kind: string): { lines: number; wrongs: number; warnings: boolean } {
  const lines = device.logs().filter(({ msg }) => msg === kind)
  return {
    lines: lines.length,
    wrongs: lines.reduce((sum, { leftOut = 0 }) => sum + 1 + leftOut, 0),
    warnings: lines.every(({ level }) => level === WARNING),
  }
}

t.test(`${FLOOD} faults of each kind are a few lines, which count all of them`, async (t) => {
  const fs = mount(t, device)
  const startMs = performance.now()
  for (const wrong of Object.values(wrongs)) for (let n = 0; n < FLOOD; n++) wrong(fs)
  const seconds = Math.ceil((performance.now() - startMs) / INTERVAL_MS)
  // The next line after a pause says how many were left out.
  await sleep(INTERVAL_MS + 100)
  for (const [kind, wrong] of Object.entries(wrongs)) {
    wrong(fs)
    await device.waitForLog(() => logged(kind).wrongs === FLOOD + 1)
    const { lines, warnings } = logged(kind)
    t.ok(warnings && lines <= seconds + 2, `${kind}: ${lines} lines in ${seconds} s`)
  }
  fs.close()
})

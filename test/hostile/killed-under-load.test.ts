/**
 * The device or its front-end is killed while requests are in flight: data of answered requests is there, and the next
 * one begins clean.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { connectGuest } from '../soak/front-end.js'
import { SoakDevice } from '../soak/soak-device.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { Call } from '../support/fuse/fuse-client.js'
import { FuseError } from '../support/fuse/fuse-client.js'
import { concat, u32, u64 } from '../support/fuse/fuse-wire.js'
import { tempDir } from '../support/host/temp-dir.js'
import { seeded } from '../support/random.js'

const SOAK = fileURLToPath(new URL('../soak/main.js', import.meta.url))
const ROUNDS = 8
const RECORD_BYTES = 512
const MOST_ACKNOWLEDGED = 60
const IN_FLIGHT = 16
const O_RDWR = 2
const O_DSYNC = 0o10000

function record(n: number): Uint8Array {
  return new Uint8Array(RECORD_BYTES).fill(1 + (n % 255))
}

t.test(`kill -9 of the device under fsync'ed writes, ${ROUNDS} times`, async (t) => {
  const random = seeded(t)
  const state = tempDir(t)
  const share = join(state, 'share')
  mkdirSync(share)
  let acknowledged = 0
  for (let round = 0; round < ROUNDS; round++) {
    const device = await SoakDevice.start(share, state)
    t.teardown(() => device.signalIfAlive('SIGKILL'))
    const fs = connectGuest(device.socketPath)
    const name = `file-${round}`
    const { nodeid, handle } = fs.create(ROOT_ID, name, O_RDWR | (round % 2 === 0 ? 0 : O_DSYNC))
    const count = random.below(MOST_ACKNOWLEDGED)
    for (let n = 0; n < count; n++) {
      fs.write(nodeid, handle, n * RECORD_BYTES, record(n))
      if (round % 2 === 0) fs.fsync(nodeid, handle)
    }
    const calls: Call[] = []
    for (let n = count; n < count + IN_FLIGHT; n++) {
      const args = concat(u64(handle, n * RECORD_BYTES), u32(RECORD_BYTES, 0), u64(0), u32(O_RDWR, 0))
      calls.push(fs.start({ opcode: Op.WRITE, nodeid, args, data: record(n), reply: { argBytes: 8 } }))
    }
    device.signal('SIGKILL')
    await device.ended()
    fs.close()
    const file = readFileSync(join(share, name))
    for (let n = 0; n * RECORD_BYTES < file.length || n < count; n++) {
      const found = file.subarray(n * RECORD_BYTES, (n + 1) * RECORD_BYTES)
      const whole = found.equals(record(n))
      if (n < count ? !whole : !whole && !found.every((byte) => byte === 0))
        t.fail(`round ${round}: record ${n} of ${count} that were acknowledged`)
    }
    acknowledged += count
  }
  t.pass(`${acknowledged} records acknowledged, all of them there`)
})

t.test('kill -9 of the front-end with requests, locks and handles: the next one begins clean', async (t) => {
  const state = tempDir(t)
  const share = join(state, 'share')
  mkdirSync(share)
  const device = await SoakDevice.start(share, state)
  t.teardown(() => device.signalIfAlive('SIGKILL'))
  const atRest = await device.fdCountAtRest()
  const script = `
    import { connectGuest } from ${JSON.stringify(new URL('../soak/front-end.js', import.meta.url).href)}
    const fs = connectGuest(${JSON.stringify(device.socketPath)})
    const { nodeid, handle } = fs.create(1n, 'file', 2)
    for (let n = 0; ; n++) {
      fs.write(nodeid, handle, n * 8, new Uint8Array(8).fill(7))
      if (n % 100 === 0) { fs.fsync(nodeid, handle); fs.open(nodeid, 2); process.stdout.write(n + '\\n') }
    }`
  for (let round = 0; round < 3; round++) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH: process.env['PATH'] ?? '' },
    })
    const synced = await new Promise<number>((resolve) => {
      child.stdout.on('data', (chunk) => {
        const n = Number(`${chunk}`.trim().split('\n').at(-1))
        if (n >= 200) resolve(n)
      })
    })
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('exit', resolve))
    t.equal(await device.fdCountAtRest(atRest), atRest, 'everything that it held is given back')
    const file = readFileSync(join(share, 'file'))
    t.ok(
      file.length >= 8 * (synced + 1) && file.every((byte) => byte === 7),
      `${synced} writes were fsync'ed`,
    )
    const fs = connectGuest(device.socketPath)
    const { nodeid } = fs.lookup(ROOT_ID, 'file')
    t.throws(() => fs.read(nodeid, 1n << 40n, 0, 8), FuseError, 'no handle of the one before')
    fs.unlink(ROOT_ID, 'file')
    fs.close()
    await device.fdCountAtRest(atRest)
  }
  await device.stop()
})

t.test('a short soak', { timeout: 120_000 }, async (t) => {
  const seed = seeded(t).below(2 ** 31)
  const args = [
    '-i',
    `PATH=${process.env['PATH']}`,
    process.execPath,
    SOAK,
    '--minutes',
    '0.1',
    '--seed',
    `${seed}`,
  ]
  const { status, stdout, stderr } = spawnSync('env', args, { encoding: 'utf8' })
  t.same([status, stderr], [0, ''])
  t.match(stdout, / 0 mismatches/)
  t.comment(stdout.trim().split('\n')[1])
})

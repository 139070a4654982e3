/**
 * File systems are mounted and unmounted on the host, below a share whose queues several threads serve, while its guest works.
 * Needs root: the mounts are in a mount namespace of the device's own.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { until } from '../../support/device/live-device.js'
import { ThreadedDevice } from '../../support/device/threaded-device.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { Call, GuestRequest } from '../../support/fuse/fuse-client.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { cstring, ENTRY_BYTES, Reader, readEntry } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'

t.setTimeout(120_000)

const THREADS = 3
const QUEUES = [1, 2, 3, 4]
const ROUNDS = 25
const FILES = 8
const O_DIRECTORY = 0o200000

const canMount = spawnSync('unshare', ['-m', 'true']).status === 0

function inNamespaceOf(served: ThreadedDevice, script: string): { status: number | null; stderr: string } {
  const args = ['-t', `${served.device.pid}`, '-m', 'sh', '-c', script]
  return spawnSync('nsenter', args, { encoding: 'utf8' })
}

/** Starts the same requests on each queue. Returns the replies, by queue. */
function onAllQueues(fs: FuseGuest, requests: readonly GuestRequest[]): Call[][] {
  const calls = QUEUES.map((queue) => requests.map((request) => fs.start(request, queue)))
  for (const [n, ofQueue] of calls.entries())
    for (const call of ofQueue) while (call.reply === undefined) fs.finish(QUEUES[n])
  return calls
}

const lookup = (nodeid: bigint, name: string): GuestRequest => ({
  opcode: Op.LOOKUP,
  nodeid,
  args: cstring(name),
  reply: { argBytes: ENTRY_BYTES },
})

/** Works below `sub` with each queue, and gives everything back. */
function useMount(t: Test, fs: FuseGuest, round: number): void {
  const sub = fs.lookup(ROOT_ID, 'sub').nodeid
  const names = Array.from({ length: FILES }, (_, n) => `file-${n}`)
  const found = onAllQueues(
    fs,
    names.map((name) => lookup(sub, name)),
  )
  const nodeids = names.map((_, n) => {
    const each = found.map((calls) => {
      const { reply } = calls[n] as Call
      if (reply?.error !== 0) throw new Error(`lookup of file ${n} in round ${round}: ${reply?.error}`)
      const entry = readEntry(new Reader(reply.body))
      fs.granted(entry)
      return entry.nodeid
    })
    t.equal(new Set(each).size, 1, 'one node id for all queues')
    return each[0] as bigint
  })
  for (const [n, nodeid] of nodeids.entries()) {
    fs.queue = QUEUES[n % QUEUES.length] ?? 1
    const { handle } = fs.open(nodeid, 0)
    for (const calls of onAllQueues(fs, [fs.readRequest(nodeid, handle, 0, 100)]))
      t.equal(Buffer.from(calls[0]?.reply?.body ?? []).toString(), `round ${round}\n`)
    fs.queue = QUEUES[(n + 1) % QUEUES.length] ?? 1
    fs.release(nodeid, handle)
  }
  const { handle } = fs.opendir(sub, O_DIRECTORY)
  for (const queue of QUEUES) {
    fs.queue = queue
    t.equal(fs.readdirplus(sub, handle, 0).length, FILES + 2)
  }
  fs.releasedir(sub, handle)
  fs.forgetAll()
}

if (!canMount) t.plan(0, 'needs root: it mounts file systems')
else
  t.test('what the guest has given back can be unmounted, and what is mounted next is found', async (t) => {
    const served = await ThreadedDevice.start(t, THREADS, [], { launcher: ['unshare', '-m'] })
    const { device } = served
    mkdirSync(join(device.directory, 'sub'))
    const at = join(device.directory, 'sub')
    const fs = mount(t, device, { requestQueues: QUEUES.length })
    await served.inUse(THREADS)
    let held = 0
    for (let round = 0; round < ROUNDS; round++) {
      const files = `for n in $(seq 0 ${FILES - 1}); do echo "round ${round}" > ${at}/file-$n; done`
      const made = inNamespaceOf(served, `mount -t tmpfs -o size=1M none ${at} && ${files}`)
      t.equal(made.status, 0, made.stderr)
      useMount(t, fs, round)
      // Threads close what they have given up when they are between two batches.
      let said = ''
      const unmounts = () => {
        const { status, stderr } = inNamespaceOf(served, `umount ${at}`)
        said = stderr
        return status === 0
      }
      await until(unmounts, () => said)
      if (round === 1) held = await device.restingFdCount()
      t.equal((await served.threads()).inUse, THREADS, 'several threads have served it')
    }
    t.ok((await device.restingFdCount()) <= held, 'no round leaves a descriptor')
    fs.close()
  })

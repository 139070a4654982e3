import type { Test } from 'tap'
import { AppendLoad } from '../fuse/append-load.js'
import { Op, ROOT_ID } from '../fuse/fuse-abi.js'
import { EMPTY } from '../fuse/fuse-client.js'
import type { FuseGuest } from '../fuse/fuse-guest.js'
import { concat, u32, u64 } from '../fuse/fuse-wire.js'
import type { Device } from './device.js'

const QUEUES = [1, 2, 3, 4]

interface Happening {
  readonly rounds: number
  /** Waits until a round may begin. */
  ready(): Promise<void>
  happens(): void | Promise<void>
}

/** Lets something happen while four queues have requests, some of which the host carries out in the background. */
export async function underLoad(
  t: Test,
  device: Device,
  fs: FuseGuest,
  { rounds, ready, happens }: Happening,
): Promise<void> {
  const load = new AppendLoad(device, fs, 'load')
  const file = fs.create(ROOT_ID, 'synced', 2)
  const args = concat(u64(file.handle), u32(0, 0))
  const sync = { opcode: Op.FSYNC, nodeid: file.nodeid, args, reply: EMPTY }
  for (let round = 0; round < rounds; round++) {
    await ready()
    const synced = QUEUES.flatMap((queue) => [fs.start(sync, queue), fs.start(sync, queue)])
    for (const queue of QUEUES) load.submit(10 + ((round * queue) % 10), queue)
    await happens()
    for (const queue of QUEUES) load.submit(1, queue)
    for (const queue of QUEUES) load.collect(queue)
    synced.forEach((call, n) => {
      while (call.reply === undefined) fs.finish(QUEUES[n >> 1])
      t.equal(call.reply.error, 0)
    })
  }
  load.assertExact()
}

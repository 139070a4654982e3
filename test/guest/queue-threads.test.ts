/** Guests of four processors on shares whose four queues are served by four threads. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { OURS } from '../../vm/device/device-process.js'
import type { Guest } from '../../vm/guest/guest.js'
import { runCommand } from '../../vm/host/command.js'
import { makeTemporaryDir } from '../../vm/host/temporary-dir.js'
import { GuestRound } from '../soak/guest-load.js'
import { policies } from '../support/host/guest-at-work.js'
import {
  bootWith,
  expectQuietKernel,
  newerPairs,
  type SharedDirectory,
  serve,
} from '../support/host/real-guest.js'

const QUEUES = 4
const SOAK_SECONDS = 10
const FIO_TIMEOUT_MS = 240_000
const MOST_LOOKS = 50
const LOOK_MS = 200

t.setTimeout(900_000)

interface ThreadsState {
  readonly inUse: number
  readonly oneThreadBecause?: string
}

async function threadsOf(controlPath: string): Promise<ThreadsState> {
  const state = await runCommand(process.execPath, [OURS, 'ctl', '--control-socket', controlPath, 'state'])
  return (JSON.parse(state) as { queueThreads: ThreadsState }).queueThreads
}

/** Resolves when each queue has a thread. Rejects after a while, with the reason. */
async function allServe(controlPath: string): Promise<void> {
  for (let n = 0; n < MOST_LOOKS; n++) {
    const threads = await threadsOf(controlPath)
    if (threads.inUse === QUEUES) return
    if (n === MOST_LOOKS - 1) throw new Error(`not ${QUEUES} threads: ${JSON.stringify(threads)}`)
    await sleep(LOOK_MS)
  }
}

/** Four jobs at once on files of their own, each of which verifies what it has written. */
function verify(guest: Guest, tag: string): Promise<string> {
  const command = `fio --name=job --directory=/${tag} --numjobs=${QUEUES} --thread --size=2M --bs=16k --rw=randwrite \
    --ioengine=libaio --iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1`
  return guest.output(command, { timeoutMs: FIO_TIMEOUT_MS })
}

for (const { kernel, qemu } of newerPairs.slice(-1)) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const sockets = makeTemporaryDir()
    t.teardown(sockets.remove)
    const control = (tag: string) => join(sockets.path, tag)
    const shares: SharedDirectory[] = []
    for (const { tag, args } of policies)
      shares.push(
        await serve(t, tag, [...args, '--queue-threads', `${QUEUES}`, '--control-socket', control(tag)]),
      )
    const guest = await bootWith(t, [], {
      kernel,
      qemu,
      cpus: QUEUES,
      programs: ['fio'],
      more: shares.map(({ tag, device }) => ({
        tag,
        socketPath: device.socketPath,
        requestQueues: QUEUES,
      })),
    })
    for (const { tag } of shares) await guest.mount(tag, `/${tag}`)
    const rounds = shares.map(({ tag }, n) => new GuestRound(guest, 1, n + 1, SOAK_SECONDS, `/${tag}`))
    const ends = rounds.map((round) => round.finish())
    for (const { tag } of shares) await allServe(control(tag))
    for (const [n, { tag }] of shares.entries())
      await t.resolves(ends[n]!, `${tag}: every file was what it had to be`)
    for (const { tag } of shares)
      await t.resolves(verify(guest, tag), `${tag}: fio verifies on four processors`)
    for (const [n, { tag, path }] of shares.entries()) {
      t.ok(rounds[n]!.checkOnHost(path) > 0, `${tag}: the host has the same files`)
      await allServe(control(tag))
    }
    await expectQuietKernel(t, guest)
    await guest.shutdown()
  })
}

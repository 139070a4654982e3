/**
 * QEMU is killed, then the guest's kernel crashes. Data that was fsync'ed is there, and the next guest begins clean on
 * the same device.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Guest } from '../../vm/guest/guest.js'
import { bootWith, hashOf, type SharedDirectory, serve } from '../support/host/real-guest.js'

const RECORDS = 12
const LOAD_MS = 1_000

t.setTimeout(900_000)

/** Writes files with fsync. Returns the sums that the guest printed after fsync had returned. */
async function writeSynced(guest: Guest, tag: string, prefix: string): Promise<Map<string, string>> {
  const sums = new Map<string, string>()
  for (let n = 0; n < RECORDS; n++) {
    const name = `${prefix}-${n}`
    const file = `/${tag}/${name}`
    await guest.output(`dd if=/dev/urandom of=${file} bs=64k count=4 conv=fsync 2>/dev/null`)
    sums.set(name, (await guest.output(`sha256sum ${file}`)).split(' ')[0] ?? '')
  }
  return sums
}

/** Load that is in flight at the end. */
async function startLoad(guest: Guest, tag: string): Promise<void> {
  const loop = `while :; do dd if=/dev/zero of=/${tag}/load bs=64k count=64 2>/dev/null; ls -lR /${tag} >/dev/null; done`
  guest.spawn(loop)
  await sleep(LOAD_MS)
}

function expectAll(t: Test, { path }: SharedDirectory, sums: ReadonlyMap<string, string>): void {
  for (const [name, sum] of sums) t.equal(hashOf(join(path, name)), sum, name)
}

t.test('after kill -9 of QEMU, and after a crash of the guest, the next guest is served', async (t) => {
  const share = await serve(t, 'files', ['--keep-alive'])
  const first = await bootWith(t, [share])
  const sums = await writeSynced(first, share.tag, 'first')
  await startLoad(first, share.tag)
  process.kill(first.qemuPid, 'SIGKILL')
  await first.exited
  expectAll(t, share, sums)

  const second = await bootWith(t, [share])
  const names = (await second.output(`ls /${share.tag}`))
    .split('\n')
    .filter((name) => name.startsWith('first'))
  t.same(names.sort(), [...sums.keys()].sort(), 'the next guest sees them')
  for (const [name, sum] of await writeSynced(second, share.tag, 'second')) sums.set(name, sum)
  await startLoad(second, share.tag)
  second.spawn('echo c > /proc/sysrq-trigger')
  await sleep(LOAD_MS)
  await second.kill()
  expectAll(t, share, sums)

  const third = await bootWith(t, [share])
  t.equal((await third.output(`sha256sum /${share.tag}/second-0`)).split(' ')[0], sums.get('second-0'))
  await third.shutdown()
})

/** Migrations that fail or are given up half-way, while the guest works: it goes on where it is, and moves the next time. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ControlledDevice } from '../../vm/device/controlled-device.js'
import type { DeviceProcess } from '../../vm/device/device-process.js'
import type { MigrateOptions } from '../../vm/guest/guest.js'
import type { Qmp } from '../../vm/guest/qmp.js'
import { bootWith, expectQuietKernel, serveAgain } from '../support/host/real-guest.js'
import { tempDir } from '../support/host/temp-dir.js'

t.setTimeout(900_000)

const QEMU = '10'
const OPTIONS = ['--cache', 'auto', '--keep-alive']
/** QEMU sends the guest's memory for long enough. */
const SLOWLY = { bandwidthBytes: 4 * 1024 * 1024 }
/** So many that their state fills the pipe and every buffer on its way. */
const FILES = 10_000
const FILES_PER_DIRECTORY = 500
const LONG = 'x'.repeat(200)

/** Resolves once QEMU sends; until then it tells of the migration before. Rejects if that does not come. */
async function untilItMoves(qmp: Qmp): Promise<void> {
  for (let n = 0; n < 1500; n++) {
    const { status } = (await qmp.execute('query-migrate')) as { status?: string }
    if (status === 'active') return
    await sleep(20)
  }
  throw new Error('the migration does not begin')
}

t.test('a guest whose migration fails at each step goes on, and moves in the end', async (t) => {
  const path = tempDir(t)
  for (let n = 0; n < FILES; n++) {
    const directory = join(path, `d${Math.floor(n / FILES_PER_DIRECTORY)}`)
    if (n % FILES_PER_DIRECTORY === 0) mkdirSync(directory)
    writeFileSync(join(directory, `${n}-${LONG}`), '')
  }
  writeFileSync(join(path, 'replaced'), '')
  const source = await ControlledDevice.start(path, OPTIONS)
  t.teardown(() => source.stop())
  const other = (options: readonly string[] = []) => serveAgain(t, path, [...OPTIONS, ...options])
  const guest = await bootWith(t, [], {
    kernel: '6.12',
    qemu: QEMU,
    more: [{ tag: 'share', socketPath: source.socketPath }],
  })
  await guest.mount('share', '/share')
  const work = guest.spawn('file-soak /share/work 1 1 120')
  const writer = guest.converse(
    'exec 9<>/share/replaced && while read line; do echo $line >&9 && echo written || echo failed; done 2>/dev/null',
  )
  t.equal(await writer.ask('first'), 'written')
  t.equal(Number(await guest.output(`find /share -name '*-x*' | wc -l`)), FILES)
  const before = (await source.held()).inodes
  t.ok(before > FILES, `the guest knows ${before} inodes`)

  const fails = async (
    t: Test,
    destination: DeviceProcess,
    meanwhile: NonNullable<MigrateOptions['meanwhile']>,
    bandwidth: Pick<MigrateOptions, 'bandwidthBytes'> = SLOWLY,
  ) => {
    const move = guest.migrate([destination.socketPath], QEMU, { ...bandwidth, meanwhile })
    await t.rejects(move, /migration (failed|cancelled)|QEMU has ended/)
    t.equal(await guest.output('echo on >/share/on && cat /share/on /share/replaced'), 'on\nfirst\n')
    t.ok((await source.held()).inodes > FILES, 'the source has what the guest knows')
  }

  t.comment('the destination is killed')
  await fails(t, await other(), async (qmp, qemu) => {
    await untilItMoves(qmp)
    qemu.signal('SIGKILL')
  })
  t.comment('the migration is cancelled')
  await fails(t, await other(), async (qmp) => {
    await untilItMoves(qmp)
    await qmp.execute('migrate_cancel')
  })
  t.comment('the device at the destination is killed')
  const doomed = await other()
  await fails(t, doomed, async (qmp) => {
    await untilItMoves(qmp)
    doomed.signal('SIGKILL')
  })
  t.comment('the device at the destination takes nothing: the pipe at the source is full')
  const stuck = await other()
  await fails(
    t,
    stuck,
    async () => {
      // QEMU itself answers nobody while it waits for the other side.
      const pipes = source.descriptors('pipe:')
      stuck.signal('SIGSTOP')
      for (let n = 0; source.descriptors('pipe:') === pipes; n++) {
        if (n === 1200) throw new Error('no state begins to move')
        await sleep(100)
      }
      await sleep(1000)
      t.ok((await source.held()).inodes > FILES, 'the source answers its control socket meanwhile')
      t.equal(source.descriptors('pipe:'), pipes + 1, 'and waits until the pipe takes more')
      stuck.signal('SIGKILL')
    },
    {},
  )
  t.comment('a name is another file’s since the migration began')
  const replace = async (qmp: Qmp) => {
    await untilItMoves(qmp)
    writeFileSync(join(path, 'new'), 'other')
    renameSync(join(path, 'new'), join(path, 'replaced'))
  }
  const move = guest.migrate([(await other()).socketPath], QEMU, { ...SLOWLY, meanwhile: replace })
  await t.rejects(move, /migration failed/)
  t.equal(await writer.ask('one'), 'written', 'the file without a name is open at the source')
  t.equal(readFileSync(join(path, 'replaced'), 'utf8'), 'other')
  await guest.migrate([(await other(['--migration-on-error', 'guest-error'])).socketPath], QEMU)
  t.equal(await writer.ask('two'), 'failed', 'it is lost, and never the other file')
  t.equal(await guest.output('sleep 2; cat /share/on /share/replaced'), 'on\nother')
  const { status, stderr } = await work.result
  t.equal(status, 0, `every file was what it had to be ${stderr}`)
  await expectQuietKernel(t, guest)
})

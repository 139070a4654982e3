/** Faults and holds as a real guest sees them, added and removed while its share stays mounted. */
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Guest } from '../../vm/guest/guest.js'
import { ControlClient } from '../support/device/control-client.js'
import {
  bootWith,
  expectQuietKernel,
  pairs,
  type SharedDirectory,
  serve,
} from '../support/host/real-guest.js'
import { tempDir } from '../support/host/temp-dir.js'
import { pattern } from '../support/pattern.js'

const DELAY_MS = 400
/** Only a hold that never ends waits so long. */
const LONG_MS = 50_000
const KIB = 1024
const IO_ERROR = /I\/O error|Input\/output/

t.setTimeout(600_000)

interface Setting {
  readonly guest: Guest
  readonly share: SharedDirectory
  readonly control: ControlClient
  readonly controlPath: string
}

/** Returns the error output of a command in the guest; empty if it did not fail. */
async function complaint({ guest }: Setting, command: string): Promise<string> {
  const { status, stderr } = await guest.run(command)
  return status === 0 ? '' : stderr.toString()
}

/** Adds a fault while `work` runs. Returns how often it was applied. */
async function withFault({ control }: Setting, spec: object, work: () => Promise<unknown>): Promise<number> {
  const { id } = await control.ask<{ id: number }>('fault-add', spec)
  try {
    await work()
    return (await control.faults()).find((fault) => fault.id === id)?.applied ?? 0
  } finally {
    await control.ask('fault-remove', id)
  }
}

async function failWithErrno(t: Test, setting: Setting): Promise<void> {
  const { guest } = setting
  await guest.output('cd /faulty && mkdir -p good && echo old > good/file && echo old > bad')
  const errors = { ENOSPC: /No space left/, EDQUOT: /quota/i, EROFS: /Read-only/, ENOENT: /No such file/ }
  for (const [errno, text] of Object.entries(errors)) {
    const applied = await withFault(setting, { opcodes: ['MKDIR'], errno }, async () =>
      t.match(await complaint(setting, 'mkdir /faulty/new'), text, errno),
    )
    t.equal(applied, 1)
  }
  await withFault(setting, { opcodes: ['WRITE'], path: 'bad', errno: 'EIO' }, async () => {
    t.match(await complaint(setting, 'echo new > /faulty/bad'), IO_ERROR)
    await guest.output('echo new > /faulty/good/file')
  })
  await guest.output('mkdir /faulty/new && echo new > /faulty/bad')
  t.equal(readFileSync(join(setting.share.path, 'bad'), 'utf8'), 'new\n', 'and none of it afterwards')
}

async function failSome(t: Test, setting: Setting): Promise<void> {
  const { guest } = setting
  const makeAndCount = async (count: number) =>
    Number(
      await guest.output(
        `cd /faulty; n=0; for i in $(seq ${count}); do mkdir some-$i 2>/dev/null || n=$((n + 1)); done; rmdir some-*; echo $n`,
      ),
    )
  const fault = { opcodes: ['MKDIR'], errno: 'ENOSPC' }
  await withFault(setting, { ...fault, limit: 2 }, async () => t.equal(await makeAndCount(5), 2, 'limit'))
  // With probability 0.5, of 64 requests some fail and some do not.
  let failed = 0
  const applied = await withFault(setting, { ...fault, probability: 0.5 }, async () => {
    failed = await makeAndCount(64)
  })
  t.ok(failed > 0 && failed < 64, `probability: ${failed} of 64`)
  t.equal(applied, failed, 'each of them counted')
}

async function waitForDelay(t: Test, setting: Setting): Promise<void> {
  const { guest } = setting
  const statfs = async () => (await guest.run('stat -f /faulty')).ms
  for (const delay of [{ fixedMs: DELAY_MS }, { uniformMs: [DELAY_MS, DELAY_MS + 100] }]) {
    await withFault(setting, { opcodes: ['STATFS'], delay }, async () => {
      const ms = await statfs()
      t.ok(ms >= DELAY_MS, `${JSON.stringify(delay)}: the guest waited ${ms.toFixed(0)} ms`)
    })
  }
  // A delayed request delays no others: otherwise this would outlast the test.
  await withFault(setting, { opcodes: ['STATFS'], delay: { fixedMs: LONG_MS } }, async () => {
    const { result } = guest.spawn('stat -f /faulty')
    await untilHeld(setting, 1)
    await guest.output('mkdir /faulty/beside && rmdir /faulty/beside')
    t.match(await setting.control.faults(), [{ heldNow: 1 }], 'and is still waited for')
    await setting.control.ask('release')
    t.match(await result, { status: 0 })
  })
}

async function untilHeld({ control }: Setting, count: number): Promise<void> {
  while ((await control.faults()).every(({ heldNow }) => heldNow < count)) await sleep(5)
}

async function answerShort(t: Test, setting: Setting): Promise<void> {
  const { guest, share } = setting
  const bytes = pattern(100, 7)
  writeFileSync(join(share.path, 'short'), bytes)
  await withFault(setting, { opcodes: ['READ'], path: 'short', shortBytes: 10 }, async () => {
    const { stdout } = await guest.run('dd if=/faulty/short bs=100 count=1 2>/dev/null')
    t.same(stdout, Buffer.from(bytes.subarray(0, 10)), 'a read')
  })
  const { stdout } = await guest.run('cat /faulty/short')
  t.same(stdout, Buffer.from(bytes))
  const applied = await withFault(setting, { opcodes: ['WRITE'], path: 'copy', shortBytes: 10 }, () =>
    guest.output('dd if=/faulty/short of=/faulty/copy bs=100 count=1 2>/dev/null'),
  )
  t.equal(applied, 10, 'a writer that goes on has to ask ten times')
  t.same(readFileSync(join(share.path, 'copy')), Buffer.from(bytes))
}

/** A hold keeps two synchronous writers until both are there, so they were in flight together. */
async function holdTogether(t: Test, setting: Setting): Promise<void> {
  const { guest, control } = setting
  await guest.output('dd if=/dev/zero of=/faulty/db bs=64k count=4 2>/dev/null')
  await control.ask('inspect', true)
  const write = (offset: number) =>
    guest.spawn(`dd if=/dev/zero of=/faulty/db bs=4k seek=${offset} count=1 conv=notrunc 2>&1`)
  const hold = { until: 2, timeoutMs: LONG_MS }
  await withFault(setting, { opcodes: ['WRITE'], path: 'db', hold }, async () => {
    const first = write(0)
    await untilHeld(setting, 1)
    await guest.output('stat /faulty/db')
    t.match(await control.faults(), [{ applied: 1, heldNow: 1 }], 'one waits for the other')
    const second = write(8)
    t.match(await Promise.all([first.result, second.result]), [{ status: 0 }, { status: 0 }])
  })
  const [db] = await control.inodes({ path: 'db' })
  t.match(db, { highestOverlap: 2, overlappedWrites: 2, openNow: 0 })
  await control.ask('inspect', false)
}

/** Linux verifies replies from 7.3 on, and says what was wrong. Earlier kernels go by the place of a reply alone. */
async function breakTheProtocol(t: Test, setting: Setting): Promise<void> {
  const { guest, share } = setting
  writeFileSync(join(share.path, 'victim'), 'victim')
  const verifies = Number.parseFloat(guest.kernelRelease) >= 7
  const commands = { GETATTR: 'stat /faulty/victim', READ: 'cat /faulty/victim' }
  const complaints = { unique: /unique mismatch/, length: /len mismatch/, 'positive-error': /invalid error/ }
  for (const violation of verifies ? Object.keys(complaints) : ['unique']) {
    for (const [opcode, command] of Object.entries(commands)) {
      const fault = { opcodes: [opcode], path: 'victim', violation }
      const applied = await withFault(setting, fault, async () =>
        t.match(await complaint(setting, command), verifies ? IO_ERROR : /^$/, `${violation}, ${opcode}`),
      )
      t.ok(applied > 0)
    }
  }
  const log = (await guest.kernelLog()).map(({ text }) => text).join('\n')
  for (const [violation, text] of Object.entries(complaints))
    if (verifies) t.match(log, text, `the kernel complains of the ${violation}`)
  t.equal(await guest.output('cat /faulty/victim'), 'victim', 'and then all is well again')
}

async function overrideInit(t: Test, setting: Setting): Promise<void> {
  const { guest, control } = setting
  const mapped = () => complaint(setting, 'mmap-write /faulty/mapped text')
  const mountAgain = async () => {
    await guest.output('umount /faulty')
    await guest.mount('faulty', '/faulty')
  }
  t.match(await mapped(), /No such device/)
  await control.ask('init', { on: ['DIRECT_IO_ALLOW_MMAP'] })
  t.match(await mapped(), /No such device/, 'not before the next INIT')
  await mountAgain()
  t.ok((await control.ask<{ flags: string[] }>('state')).flags.includes('DIRECT_IO_ALLOW_MMAP'))
  t.equal(await mapped(), '', 'a bit that was forced on')
  await control.ask('init')
  await control.ask('withhold', ['FALLOCATE'])
  await mountAgain()
  t.match(await mapped(), /No such device/)
  // When fallocate fails, libc writes zeros instead.
  for (let n = 0; n < 2; n++) await guest.output('fallocate -l 4096 /faulty/mapped')
  const state = await control.ask<{ withheld: object }>('state')
  t.same(state.withheld, { FALLOCATE: 1 }, 'a kernel that was told ENOSYS does not ask again')
  await control.ask('withhold', [])
  await mountAgain()
  await guest.output('fallocate -l 4096 /faulty/mapped')
  t.match(await control.ask('counts'), { requests: { FALLOCATE: 2 }, errors: { FALLOCATE: 1 } })
}

async function refuseNonsense(t: Test, setting: Setting): Promise<void> {
  const { guest, control } = setting
  await control.ask('fault-add', { opcodes: ['MKNOD'], errno: 'EPERM' })
  const before = [await control.ask('state'), await control.faults()]
  const messages = [
    'nonsense',
    '{"command":"fault-add","argument":{"opcodes":["WRTE"],"errno":"EIO"}}',
    '{"command":"fault-add","argument":{"opcodes":["WRITE"],"errno":"EIO","path":"["}}',
    '{"command":"fault-add","argument":{"opcodes":["WRITE"],"delay":{"fixedMs":"soon"}}}',
    '{"command":"fault-remove","argument":99}',
    '{"command":"withhold","argument":["LSEEK","NOTHING"]}',
    '{"command":"init","argument":{"off":["ASYNC_DIO"],"minor":-1}}',
    '{"command":"inspect","argument":"yes"}',
    '{"command":"nothing"}',
  ]
  for (const message of messages) {
    const answer = await control.line(message)
    t.equal(answer?.ok, false, `${message}: ${answer?.error}`)
    t.ok((answer?.error ?? '').length > 10)
  }
  t.same([await control.ask('state'), await control.faults()], before, 'nothing has changed')
  await guest.output('echo x > /faulty/fine && rm /faulty/fine')
  await control.ask('fault-clear')
}

/** The guest's work completes while one client has sent half a line, and others ask without end. */
async function sufferClients(t: Test, setting: Setting): Promise<void> {
  const { guest, control, controlPath } = setting
  await control.ask('inspect', true)
  const hanging = connect(controlPath)
  hanging.on('error', () => {}).write('{"command":')
  const unread = connect(controlPath)
  unread.on('error', () => {}).pause()
  unread.write('{"command":"help"}\n'.repeat(31))
  let answered = 0
  let over = false
  const flood = async () => {
    const client = await ControlClient.connect(t, controlPath)
    while (!over) if ((await client.line('{"command":"inodes"}'))?.ok) answered++
  }
  const floods = [flood(), flood(), flood()]
  while (answered === 0) await sleep(1)
  const before = answered
  await guest.output(
    `cd /faulty && for i in $(seq 50); do echo $i > busy-$i; done && cat busy-* | wc -l && rm busy-*`,
  )
  await guest.output(`dd if=/dev/zero of=/faulty/busy bs=${64 * KIB} count=64 2>/dev/null && rm /faulty/busy`)
  t.ok(answered > before, `the guest was served, and so were ${answered} questions meanwhile`)
  t.notOk(hanging.destroyed, 'and one client still hangs')
  over = true
  await Promise.all(floods)
  hanging.destroy()
  unread.destroy()
  await control.ask('inspect', false)
}

for (const { kernel, qemu } of pairs.filter(({ kernel }) => kernel !== '6.1')) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const controlPath = join(tempDir(t), 'control')
    const args = ['--cache', 'never', '--parallel-dio', '--unsafe-faults', '--control-socket', controlPath]
    // The shell closes duplicates of what it writes to; before 7.x the FLUSH of that waits for every writer.
    args.push('--noflush')
    const share = await serve(t, 'faulty', args)
    const guest = await bootWith(t, [share], { kernel, qemu })
    const control = await ControlClient.connect(t, controlPath)
    const setting = { guest, share, control, controlPath }

    await t.test('an errno, by opcode and path', (t) => failWithErrno(t, setting))
    await t.test('so many, or some', (t) => failSome(t, setting))
    await t.test('a delay is waited for', (t) => waitForDelay(t, setting))
    await t.test('short answers', (t) => answerShort(t, setting))
    await t.test('a gate for two', (t) => holdTogether(t, setting))
    await t.test('bad messages', (t) => refuseNonsense(t, setting))
    await t.test('clients that hang or flood', (t) => sufferClients(t, setting))
    const { requests } = await control.ask<{ requests: Record<string, number> }>('counts')
    t.equal(requests['INIT'], 1, 'all of it in one mount')
    await expectQuietKernel(t, guest)
    await t.test('replies that break the protocol', (t) => breakTheProtocol(t, setting))
    await t.test('INIT, and opcodes that are not there', (t) => overrideInit(t, setting))
  })
}

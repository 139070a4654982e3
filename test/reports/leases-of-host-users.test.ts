/** A host user's lease on a file (fcntl F_SETLEASE) delays the opening of that file, and nothing else. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chownSync, constants, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startControlled } from '../support/device/control-client.js'
import type { Device } from '../support/device/device.js'
import { users } from '../support/device/users.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import { concat, cstring, u32 } from '../support/fuse/fuse-wire.js'
import { mount } from '../support/fuse/mount.js'

const { O_CREAT, O_RDONLY, O_RDWR, O_WRONLY } = constants
const EINTR = 4

/**
 * Takes a lease on a file as its owner, says so, and gives it up only when the test says so, not at the kernel's
 * signal.
 */
const HOLDER = `
import fcntl, os, signal, sys
path, owner, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
signal.signal(signal.SIGIO, signal.SIG_IGN)
os.setgid(owner)
os.setuid(owner)
fd = os.open(path, os.O_RDWR if kind == "F_WRLCK" else os.O_RDONLY)
fcntl.fcntl(fd, fcntl.F_SETLEASE, getattr(fcntl, kind))
print("has it", flush=True)
sys.stdin.readline()
`

class Lease {
  private constructor(private readonly holder: ChildProcess) {}

  static async take(t: Test, device: Device, name: string, owner: number, kind = 'F_WRLCK') {
    const path = join(device.directory, name)
    writeFileSync(path, 'text')
    chownSync(path, owner, owner)
    const holder = spawn('python3', ['-c', HOLDER, path, `${owner}`, kind], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.teardown(() => holder.kill('SIGKILL'))
    await new Promise((resolve) => holder.stdout.once('data', resolve))
    return new Lease(holder)
  }

  async giveUp(): Promise<void> {
    this.holder.stdin?.end('\n')
    await new Promise((resolve) => this.holder.once('exit', resolve))
  }
}

for (const [user, options] of Object.entries(users)) {
  t.test(`as ${user}`, async (t) => {
    const owner = options.owner ?? process.getuid?.() ?? 0
    const { device, control } = await startControlled(t, [], options)
    const fs = mount(t, device)
    const open = (name: string, flags: number) => {
      const { nodeid } = fs.lookup(ROOT_ID, name)
      return fs.start({ opcode: Op.OPEN, nodeid, args: u32(flags, 0), reply: { argBytes: 16 } })
    }

    t.test('OPEN waits until the lease is given up; other requests and control commands go on', async (t) => {
      const lease = await Lease.take(t, device, 'opened', owner)
      const waiting = open('opened', O_RDONLY)
      for (let n = 0; n < 100; n++) fs.getattr(ROOT_ID)
      t.match(await control.ask('state'), { connected: true })
      t.equal(waiting.reply, undefined)
      await lease.giveUp()
      t.equal(fs.finish(), waiting)
      t.equal(waiting.reply?.error, 0)
    })

    t.test('a read lease delays opens for writing, and not for reading', async (t) => {
      const lease = await Lease.take(t, device, 'read', owner, 'F_RDLCK')
      const reading = open('read', O_RDONLY)
      t.equal(fs.finish(), reading)
      t.equal(reading.reply?.error, 0)
      const writing = open('read', O_WRONLY)
      fs.getattr(ROOT_ID)
      t.equal(writing.reply, undefined)
      await lease.giveUp()
      t.equal(fs.finish(), writing)
      t.equal(writing.reply?.error, 0)
    })

    t.test('SETATTR of the size waits, too', async (t) => {
      const lease = await Lease.take(t, device, 'cut', owner)
      const { nodeid } = fs.lookup(ROOT_ID, 'cut')
      const args = concat(u32(1 << 3, 0), new Uint8Array(8), new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0]))
      const cutting = fs.start({
        opcode: Op.SETATTR,
        nodeid,
        args: concat(args, new Uint8Array(88 - args.length)),
        reply: { argBytes: 104 },
      })
      fs.getattr(ROOT_ID)
      t.equal(cutting.reply, undefined)
      await lease.giveUp()
      t.equal(fs.finish(), cutting)
      t.equal(cutting.reply?.error, 0)
      t.equal(fs.getattr(nodeid).attr.size, 2n)
    })

    t.test('CREATE of a file that is there waits, too', async (t) => {
      const lease = await Lease.take(t, device, 'there', owner)
      const args = concat(u32(O_RDWR | O_CREAT, 0o100644, 0, 0), cstring('there'))
      const creating = fs.start({
        opcode: Op.CREATE,
        nodeid: ROOT_ID,
        args,
        reply: { argBytes: 144 },
      })
      fs.getattr(ROOT_ID)
      t.equal(creating.reply, undefined)
      await lease.giveUp()
      t.equal(fs.finish(), creating)
      t.equal(creating.reply?.error, 0)
    })

    t.test('rings that stop end the wait', async (t) => {
      const lease = await Lease.take(t, device, 'stopped', owner)
      const waiting = open('stopped', O_RDONLY)
      fs.getattr(ROOT_ID)
      fs.frontend.stopQueue(fs.queue)
      t.equal(fs.finish(), waiting)
      t.equal(waiting.reply?.error, EINTR)
      await lease.giveUp()
    })
  })
}

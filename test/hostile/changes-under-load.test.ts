/**
 * Everything that can happen to a share, again and again, while several threads serve the verified load of its guest: commands,
 * messages of the front-end, new sessions, new guests, mounts of the host, and other processes in the place of this one.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FrontendRequest } from 'vhost-user-ts/frontend'
import { Load } from '../soak/load.js'
import { until } from '../support/device/live-device.js'
import { ThreadedDevice } from '../support/device/threaded-device.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { mount } from '../support/fuse/mount.js'
import { type Random, seeded } from '../support/random.js'

t.setTimeout(300_000)

const QUEUES = 4
const STEPS = 12
const PASSES = 2
const MIB = 1 << 20
/** The heap varies by this much. */
const NOISE_KIB = 32 * 1024
/** Node starts the threads of its pool when it first needs one. */
const POOL_THREADS = 4

const canMount = spawnSync('unshare', ['-m', 'true']).status === 0

class Changes {
  guest: FuseGuest

  constructor(
    private readonly t: Test,
    private readonly served: ThreadedDevice,
    private readonly load: Load,
    private readonly threads: number,
    private readonly random: Random,
  ) {
    this.guest = this.connect()
  }

  /** Makes each change once, in random order. Returns when all threads serve again. */
  async pass(): Promise<void> {
    const left = Object.entries(this.changes)
    while (left.length > 0) {
      const [change] = left.splice(this.random.below(left.length), 1)
      if (change === undefined) continue
      const [name, make] = change
      if (this.random.below(2) === 0) await this.served.inUse(this.threads)
      try {
        // It happens in the middle of the load.
        const made = make()
        this.work()
        await made
        this.work()
      } catch (error) {
        throw new Error(`${name}: ${(error as Error).stack}`)
      }
    }
    await this.served.inUse(this.threads)
    this.load.checkOnHost()
  }

  work(): void {
    for (let n = 0; n < STEPS; n++) this.load.step(this.guest)
  }

  connect(): FuseGuest {
    const guest = mount(this.t, this.served.device, { requestQueues: QUEUES })
    guest.roomMayChange = true
    return guest
  }

  private get changes(): Readonly<Record<string, () => Promise<unknown> | unknown>> {
    const { served, random } = this
    const reading = ['state', 'figures', 'fault-list', 'locks', 'counts', 'report', 'shares', 'limits']
    const asked = reading.map((command) => [command, () => served.ask(command)] as const)
    const frontend = () => this.guest.frontend
    return {
      ...Object.fromEntries(asked),
      inspect: async () => {
        await served.ask('inspect', true)
        this.work()
        for (const command of ['inodes', 'totals', 'latency', 'reset']) await served.ask(command)
        await served.ask('inspect', false)
      },
      faults: async () => {
        await served.ask('fault-add', { opcodes: ['READ', 'WRITE', 'LOOKUP'], delay: { uniformMs: [0, 1] } })
        await served.ask('fault-add', { opcodes: ['WRITE'], hold: { until: 2, timeoutMs: 20 } })
        this.work()
        await served.ask('release')
        await served.ask('fault-clear')
      },
      withhold: async () => {
        await served.ask('withhold', ['LSEEK'])
        this.work()
        await served.ask('withhold', [])
      },
      'limit and none': async () => {
        await served.ask('limits', { iops: 100_000 })
        this.work()
        await served.ask('limits', { iops: 'none' })
      },
      'log-level': () => served.ask('set', { 'log-level': random.pick(['warn', 'info']) }),
      cache: () => served.ask('set', { cache: random.pick(['auto', 'metadata']) }),
      'another share': async () => {
        const changes = await served.live.changes()
        await changes.ask('share-add', served.live.share(`other-${random.below(2 ** 30)}`).words)
        const [, other] = await served.ask<{ name: string }[]>('shares')
        this.work()
        await changes.ask('share-remove', other?.name)
        changes.socket.destroy()
      },
      reload: async () => {
        const changes = await served.live.changes()
        await changes.ask('reload')
        changes.socket.destroy()
      },
      'another process': () => served.replace(),
      'memory added and removed': () => frontend().removeRegion(frontend().addRegion(4 * MIB)),
      'memory replaced': () => frontend().sendMemoryTable(),
      'queues stopped and started': () => {
        for (let queue = 1; queue <= QUEUES; queue++)
          frontend().startQueue(queue, frontend().stopQueue(queue))
      },
      'an unmount, and a mount': () => {
        this.guest.destroy()
        this.guest.init()
      },
      'a mount alone': () => {
        this.guest.init()
      },
      'a reset': () => {
        frontend().request(FrontendRequest.RESET_DEVICE, 0)
        this.guest.restartQueues()
        this.guest.init()
      },
      'a front-end that leaves with requests under way': () => {
        this.load.leaveWritesUnanswered(this.guest)
        this.guest.close()
        this.load.abandon()
        this.guest = this.connect()
        this.load.checkOnHost()
      },
      'a file system that comes and goes': () => (canMount ? this.mountAndUnmount() : undefined),
    }
  }

  private async mountAndUnmount(): Promise<void> {
    const { served, guest, t } = this
    const at = join(served.device.directory, 'sub')
    const inside = (script: string) =>
      spawnSync('nsenter', ['-t', `${served.device.pid}`, '-m', 'sh', '-c', script], { encoding: 'utf8' })
    t.equal(inside(`mount -t tmpfs none ${at} && echo text > ${at}/inside`).status, 0)
    const { nodeid } = guest.lookup(guest.lookup(ROOT_ID, 'sub').nodeid, 'inside')
    const { handle } = guest.open(nodeid, 0)
    t.equal(Buffer.from(guest.read(nodeid, handle, 0, 10)).toString(), 'text\n')
    guest.release(nodeid, handle)
    guest.forgetAll()
    this.work()
    let said = ''
    const unmounts = () => {
      const { status, stderr } = inside(`umount ${at}`)
      said = stderr
      return status === 0
    }
    await until(unmounts, () => said)
  }
}

/** What a process holds. Threads of the kernel, which carry requests of io_uring out, are left out. */
function heldBy(pid: number) {
  const names = readdirSync(`/proc/${pid}/task`).map((tid) => {
    try {
      return readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8')
    } catch {
      return 'iou-'
    }
  })
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return {
    threads: names.filter((name) => !name.startsWith('iou-')).length,
    memoryKib: Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1]),
  }
}

for (const threads of [4, 2]) {
  t.test(`all changes under load, with ${threads} threads`, async (t) => {
    const random = seeded(t)
    const launcher = canMount ? { launcher: ['unshare', '-m'] } : {}
    const served = await ThreadedDevice.start(t, threads, ['--log-level', 'info'], launcher)
    const { device } = served
    mkdirSync(join(device.directory, 'sub'))
    const load = new Load(random, device.directory, QUEUES)
    const changes = new Changes(t, served, load, threads, random)
    const held = []
    for (let pass = 0; pass < PASSES; pass++) {
      await changes.pass()
      changes.guest.close()
      // A new process has started its threads by now, and has a guest.
      held.push({ ...heldBy(device.pid), fds: await device.restingFdCount() })
      changes.guest = changes.connect()
    }
    t.comment(`${load.requests} requests; ${JSON.stringify(held)}`)
    const [first, last] = held
    t.ok((last?.fds ?? 0) <= (first?.fds ?? 0), 'no descriptor is left')
    t.ok((last?.threads ?? 0) <= (first?.threads ?? 0) + POOL_THREADS, 'no thread is left')
    t.ok((last?.memoryKib ?? 0) <= (first?.memoryKib ?? 0) + NOISE_KIB, 'no memory is left')
    t.notOk(
      device.logs().some(({ level }) => Number(level) >= 50),
      'nothing has failed',
    )
    await served.inUse(threads)
    load.leaveWritesUnanswered(changes.guest)
    const startMs = performance.now()
    device.kill('SIGTERM')
    t.same(await device.exited(), { status: 0, signal: null })
    t.ok(performance.now() - startMs < 5000, 'it ends at once')
    changes.guest.close()
  })
}

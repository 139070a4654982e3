import { bootGuest, type Guest } from '../guest/guest.js'
import type { GuestProgram } from '../guest/initramfs.js'
import { loudMessages, parseKernelLog } from '../guest/kernel-log.js'
import { SetupError } from '../host/setup-error.js'
import { GuestTrace } from './guest-events.js'
import type { GuestFacts } from './kernel-rules.js'
import { type OptionSet, optionSet, type ShareName } from './option-sets.js'
import { type LabServer, NeedsOwnDevice, type ServerName, type ShareState } from './servers/lab-server.js'
import { startServer } from './servers/start-server.js'

export interface KernelChoice {
  /** A name of vm/kernel.ts, or the path of a bzImage. */
  readonly kernel: string
  /** The bzImage, if `kernel` is only its name. */
  readonly image?: string | undefined
  readonly guestMiB?: number | undefined
  /** Default: that of bootGuest. */
  readonly bootTimeoutMs?: number | undefined
  readonly modulesDir?: string | undefined
  readonly qemu?: string | undefined
  /** The server of the shares. Default: our device. */
  readonly server?: ServerName | undefined
  /** Added to the kernel's command line. */
  readonly kernelArgs?: readonly string[] | undefined
}

const KERNEL_ARGS = [
  'oops=panic', // stop a case at its oops, without later effects
  'printk.devkmsg=on', // keep our marks: printk drops messages above its rate limit
]
const MARK = 'lab: the log is read up to here'
const LOG_TIMEOUT_MS = 10_000

/** A guest with one kernel and all shares mounted at /NAME, and its device. */
export class LabGuest {
  /** The guest has answered since the last `isAlive`. */
  private hasAnswered = false

  private constructor(
    readonly guest: Guest,
    readonly device: LabServer,
    private readonly facts: ReadonlyMap<ShareName, GuestFacts>,
    /** Complaints of the kernel until all shares were mounted. */
    readonly bootTrouble: readonly string[],
    readonly trace: GuestTrace,
  ) {}

  static async boot(
    choice: KernelChoice,
    sets: readonly OptionSet[],
    programs: GuestProgram[] = [],
  ): Promise<LabGuest> {
    const device = await startServer(choice.server ?? 'virtiofsd-ts', sets)
    const kernelArgs = [...KERNEL_ARGS, ...(choice.kernelArgs ?? [])]
    let guest: Guest | undefined
    try {
      guest = await bootGuest({
        ...choice,
        kernel: choice.image ?? choice.kernel,
        kernelArgs,
        shares: device.shares,
        programs,
        ...(choice.guestMiB === undefined ? {} : { memoryMiB: choice.guestMiB }),
      })
      const facts = new Map<ShareName, GuestFacts>()
      for (const set of device.sets) facts.set(set.name, await mountShare(guest, device, set))
      await settleWriteBack(guest)
      const trouble = await readTrouble(guest)
      if (trouble === undefined)
        throw new SetupError(`Linux ${guest.kernelRelease} has no readable log: it needs CONFIG_PRINTK`)
      return new LabGuest(guest, device, facts, trouble, await GuestTrace.open(guest))
    } catch (error) {
      await guest?.kill()
      await device.stop()
      throw error
    }
  }

  /** The features that this guest agreed on with a share. */
  factsOf(share: ShareName): GuestFacts {
    return this.facts.get(share)!
  }

  /** Unmounts a share and mounts it again. No process may use it. */
  async remount(share: ShareName): Promise<void> {
    await this.guest.output(`umount /${share}`)
    await mountShare(this.guest, this.device, optionSet(share))
    this.trace.remounted(`/${share}`)
    await settleWriteBack(this.guest)
  }

  /** New kernel messages since the last call: reports of bugs, and warnings of fuse and virtio. */
  async takeKernelTrouble(): Promise<string[]> {
    const trouble = await readTrouble(this.guest)
    this.hasAnswered = true
    return trouble ?? ["the kernel's log cannot be read any more"]
  }

  /** The guest's versions of the kernel and of FUSE. */
  get versions(): { release: string; fuse: string } {
    const [facts] = [...this.facts.values()]
    return { release: this.guest.kernelRelease, fuse: `7.${facts!.minor}` }
  }

  /** Returns true if guest and device still answer. A guest whose log was read is not asked again. */
  async isAlive(): Promise<boolean> {
    const [{ name }] = this.device.sets as [OptionSet]
    const answers = [
      this.hasAnswered || this.guest.output('true', { timeoutMs: LOG_TIMEOUT_MS }),
      this.device.ask(name, 'state').catch(passIfMissing),
    ]
    this.hasAnswered = false
    return Promise.all(answers).then(
      () => true,
      () => false,
    )
  }

  /** Ends guest and device, whatever the guest's state. */
  async stop(): Promise<void> {
    await this.guest.kill()
    await this.device.stop()
  }
}

/** Another device says nothing of itself. */
function passIfMissing(error: unknown): void {
  if (!(error instanceof NeedsOwnDevice)) throw error
}

function factsOf(guest: Guest, { name, options }: OptionSet, state: ShareState): GuestFacts {
  return {
    share: name,
    release: guest.kernelRelease,
    minor: Number(state.guest.split('.')[1]),
    parallelDio: options['parallel-dio'] === true,
    asksMmap: options['allow-mmap'] === true,
    flags: state.flags,
    allowMmap: state.flags.includes('DIRECT_IO_ALLOW_MMAP'),
    asyncDio: state.flags.includes('ASYNC_DIO'),
    passthrough: state.flags.includes('PASSTHROUGH'),
  }
}

async function mountShare(guest: Guest, device: LabServer, set: OptionSet): Promise<GuestFacts> {
  return factsOf(guest, set, await device.mount(guest, set))
}

/**
 * Keeps the kernel from writing back by the clock, or because it finds that FUSE has much dirty memory: what is written back,
 * and when, is then up to the cases. Without a share of its own (min_ratio), a new file system has too much with its first
 * dirty page; with a period of 0, the kernel looks at once.
 */
async function settleWriteBack(guest: Guest): Promise<void> {
  const settings = [
    'echo 360000 >/proc/sys/vm/dirty_writeback_centisecs',
    'echo 90 >/proc/sys/vm/dirty_ratio',
    'echo 50 >/proc/sys/vm/dirty_background_ratio',
    'for b in /sys/class/bdi/*; do echo 100 >$b/max_ratio; echo 4 >$b/min_ratio; done',
  ]
  await guest.output(settings.join(' && '))
}

/** Returns undefined if a message written to the kernel's log does not show up: an empty log then means nothing. */
async function readTrouble(guest: Guest): Promise<string[] | undefined> {
  const command = `echo '${MARK}' >/dev/kmsg; dmesg -r -c`
  const messages = parseKernelLog(await guest.output(command, { timeoutMs: LOG_TIMEOUT_MS }))
  return messages.some(({ text }) => text === MARK) ? loudMessages(messages) : undefined
}

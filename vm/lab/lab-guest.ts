import { bootGuest, type Guest } from '../guest/guest.js'
import { type KernelMessage, parseKernelLog } from '../guest/kernel-log.js'
import type { GuestFacts } from './kernel-rules.js'
import { LabDevice, type ShareState } from './lab-device.js'
import type { OptionSet, ShareName } from './option-sets.js'

export interface KernelChoice {
  /** A name of vm/kernel.ts, or the path of a bzImage. */
  readonly kernel: string
  readonly modulesDir?: string | undefined
  readonly qemu?: string | undefined
}

/** The message level of a warning; what is more severe is lower. */
const WARNING = 4
const TROUBLE = /Call Trace|BUG:|WARNING:|hung task|blocked for more than/

/** A guest of one kernel with all shares mounted at /NAME, and the device beside it. */
export class LabGuest {
  private constructor(
    readonly guest: Guest,
    readonly device: LabDevice,
    private readonly facts: ReadonlyMap<ShareName, GuestFacts>,
  ) {}

  static async boot(choice: KernelChoice, sets: readonly OptionSet[]): Promise<LabGuest> {
    const device = await LabDevice.start(sets)
    const guest = await bootGuest({ ...choice, shares: device.shares, programs: ['fio'] }).catch(
      async (error: unknown) => {
        await device.stop()
        throw error
      },
    )
    const facts = new Map<ShareName, GuestFacts>()
    for (const set of sets) {
      await guest.mount(set.name, `/${set.name}`)
      // mount may return before INIT was answered; the first request waits for that.
      await guest.output(`stat /${set.name}`)
      facts.set(set.name, factsOf(guest, set, await device.ask<ShareState>(set.name, 'state')))
    }
    const lab = new LabGuest(guest, device, facts)
    await lab.takeKernelTrouble()
    return lab
  }

  /** What this guest agreed on with a share. */
  factsOf(share: ShareName): GuestFacts {
    return this.facts.get(share)!
  }

  /** Of the kernel's messages since the last time: reports of bugs, and warnings of fuse and virtio. */
  async takeKernelTrouble(): Promise<string[]> {
    const messages = parseKernelLog(await this.guest.output('dmesg -r -c'))
    return messages.filter(isTrouble).map(({ text }) => text)
  }

  /** The guest's version of the kernel and of FUSE. */
  get versions(): { release: string; fuse: string } {
    const [facts] = [...this.facts.values()]
    return { release: this.guest.kernelRelease, fuse: `7.${facts!.minor}` }
  }

  /** Whether guest and device still answer. */
  async isAlive(): Promise<boolean> {
    const [{ name }] = this.device.sets as [OptionSet]
    const answers = [this.guest.output('true'), this.device.ask(name, 'state')]
    return Promise.all(answers).then(
      () => true,
      () => false,
    )
  }

  /** Ends both, however the guest is. */
  async stop(): Promise<void> {
    await this.guest.kill()
    await this.device.stop()
  }
}

function factsOf(guest: Guest, { name, options }: OptionSet, state: ShareState): GuestFacts {
  return {
    share: name,
    release: guest.kernelRelease,
    minor: Number(state.guest.split('.')[1]),
    parallelDio: options['parallel-dio'] === true,
    asksMmap: options['allow-mmap'] === true,
    allowMmap: state.flags.includes('DIRECT_IO_ALLOW_MMAP'),
    asyncDio: state.flags.includes('ASYNC_DIO'),
  }
}

function isTrouble({ level, text }: KernelMessage): boolean {
  return TROUBLE.test(text) || (level <= WARNING && /fuse|virtio/i.test(text))
}

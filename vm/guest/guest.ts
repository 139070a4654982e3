import { statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ensureHostTools } from '../host/host-tools.js'
import { describeExit, type LeashedProcess, type ProcessExit } from '../host/leashed-process.js'
import { whenLate } from '../host/patience.js'
import { SetupError } from '../host/setup-error.js'
import { makeTemporaryDir } from '../host/temporary-dir.js'
import { type Accelerator, findAccelerator } from './accelerator.js'
import { Agent, type CommandReport } from './agent.js'
import { clockRateKhz } from './clock-rate.js'
import type { Console } from './console.js'
import { Conversation } from './conversation.js'
import { buildInitramfs, type GuestProgram } from './initramfs.js'
import { findKernel } from './kernel.js'
import { type KernelMessage, parseKernelLog } from './kernel-log.js'
import { type Machine, startMachine } from './machine.js'
import { moveGuest, waitUntilRunning } from './migration.js'
import { type Disk, findQemu, type MachineOptions, type Share } from './qemu.js'
import type { Qmp } from './qmp.js'

export const DEFAULT_KERNEL = '6.12'

export interface GuestOptions {
  /** One of KERNEL_NAMES, or the path of a bzImage. Default 6.12. */
  kernel?: string | undefined
  /** For a bzImage: its modules, a folder like /lib/modules/RELEASE. Without it everything must be built in. */
  modulesDir?: string | undefined
  /** One of QEMU_NAMES, `system`, or a path. Default: the system's if it has one, else 10. */
  qemu?: string | undefined
  shares?: Share[]
  /** Needs the module virtio_blk. */
  disks?: Disk[]
  /** Default 512. */
  memoryMiB?: number
  /** The most memory after hot-plug. */
  maxMemoryMiB?: number
  /** Default 2. */
  cpus?: number
  /** Default: KVM where it works, else TCG. */
  accelerator?: Accelerator
  programs?: GuestProgram[]
  /** Kernel modules to load besides those for virtio-fs. */
  modules?: string[]
  /** Appended to the kernel's command line. */
  kernelArgs?: string[]
  /** The time from QEMU's start until commands can run, not counting QEMU's waits for a processor. Default 120 s. */
  bootTimeoutMs?: number | undefined
}

export interface RunOptions {
  /** The command is killed after this time. Default 60 s for `run`, none for `spawn`. */
  timeoutMs?: number
  stdin?: string | Uint8Array
}

/** How a guest migrates. */
export interface MigrateOptions {
  /** The most that QEMU sends in a second. Default: more than any machine can. */
  readonly bandwidthBytes?: number
  /** Called with the QEMUs on both sides when the migration has begun. */
  readonly meanwhile?: (source: Qmp, destination: LeashedProcess) => Promise<void>
}

export type CommandResult = Omit<CommandReport, 'timedOut' | 'stack'>

/** A command that was started and may still run. */
export interface RunningCommand {
  result: Promise<CommandResult>
  /** Signals the command's process group; 15 is SIGTERM. */
  kill(signal?: number): void
}

/** A fault in a guest. The message ends with the last lines of its console. */
export class GuestError extends Error {
  override readonly name = 'GuestError'
}

const COMMAND_TIMEOUT_MS = 60_000
const BOOT_TIMEOUT_MS = 120_000
const SHUTDOWN_TIMEOUT_MS = 30_000
/** The agent itself ends a command at its limit. A guest silent for this much longer is gone. */
const AGENT_GRACE_MS = 10_000
/** Enough lines for the whole report of a panic. */
const CONSOLE_LINES = 60
const CONSOLE_SETTLE_MS = 300
/** Time for a kernel to print its last words. */
const NMI_MS = 1_500
const SIGTERM = 15

const KERNEL_ARGS = [
  'console=ttyS0',
  'printk.time=1',
  'panic=-1', // resets the machine, which we see
  'unknown_nmi_panic', // so that a guest that hangs can be asked where
  'log_buf_len=4M',
  'memhp_default_state=online',
  // Distrust of the hardware costs a second under TCG.
  'tsc=reliable',
  'no_timer_check',
  'mitigations=off',
  'nokaslr',
  // The guest's clock runs while the host runs something else; that is no lockup of the guest.
  'nosoftlockup',
  'rcupdate.rcu_cpu_stall_suppress=1',
]

/**
 * With TCG, QEMU 10 and 11 can end (assertion `section_index < d->map.sections_nb' failed) if one processor uses its
 * interrupt controller while another sizes PCI bars. So the kernel boots on one processor; init starts the others.
 */
const TCG_KERNEL_ARGS = ['maxcpus=1']

/**
 * The rate of the guest's clock. A kernel that waits for a processor while it measures the rate gets a wrong one: on a busy
 * machine, a guest's minute has taken five seconds.
 */
async function clockArg(): Promise<string> {
  return `tsc_early_khz=${await clockRateKhz()}`
}

/**
 * Memory that a kernel needs besides its image, which it holds packed and unpacked, in a file system of half its
 * memory.
 */
const KERNEL_MIB = 96
const IMAGE_COPIES = 3

/** Refuses too little memory: a kernel without room to unpack its image silently continues with a part of it. */
function expectRoom(initramfs: string, memoryMiB: number): void {
  const leastMiB = KERNEL_MIB + Math.ceil((IMAGE_COPIES * statSync(initramfs).size) / 2 ** 20)
  if (memoryMiB < leastMiB) {
    throw new SetupError(`${memoryMiB} MiB are too few for this guest: its image needs ${leastMiB} MiB`)
  }
}

/** Boots a guest and resolves once commands can run in it. Shares are attached, not mounted. */
export async function bootGuest(options: GuestOptions = {}): Promise<Guest> {
  await ensureHostTools()
  const accelerator = options.accelerator ?? findAccelerator()
  const memoryMiB = options.memoryMiB ?? 512
  const kernel = await findKernel(options.kernel ?? DEFAULT_KERNEL, options.modulesDir)
  const initramfs = await buildInitramfs({ kernel, programs: options.programs, modules: options.modules })
  expectRoom(initramfs, memoryMiB)
  const qemu = await findQemu(options.qemu)

  const startMs = performance.now()
  const machineOptions = {
    accelerator,
    kernelImage: kernel.image,
    initramfs,
    kernelArgs: [
      ...KERNEL_ARGS,
      ...(accelerator === 'tcg' ? [...TCG_KERNEL_ARGS, await clockArg()] : []),
      ...(options.kernelArgs ?? []),
    ],
    memoryMiB,
    maxMemoryMiB: options.maxMemoryMiB ?? memoryMiB,
    cpus: options.cpus ?? 2,
    shares: options.shares ?? [],
    disks: options.disks ?? [],
  }
  const machine = await startMachine(qemu, machineOptions)
  const guest = new Guest(machine, machineOptions)
  await guest.awaitAgent('boot', options.bootTimeoutMs ?? BOOT_TIMEOUT_MS)
  guest.bootMs = performance.now() - startMs
  return guest
}

/** A running guest, until it is shut down, killed, or ends by a fault of its own. */
export class Guest {
  /** The kernel's release, as in uname -r. */
  kernelRelease = ''
  /** The time from QEMU's start until commands could run. */
  bootMs = 0
  private rebooting = false
  private isSaved = false
  private nextPlug = 1
  private failure: GuestError | undefined
  private fail!: (error: GuestError) => void
  /** Rejects when the guest has ended, with the reason. */
  private readonly failed = new Promise<never>((_, reject) => {
    this.fail = reject
  })

  private readonly agent: Agent

  /** Use bootGuest. */
  constructor(
    private machine: Machine,
    private readonly options: Omit<MachineOptions, 'sockets' | 'incoming'>,
  ) {
    this.failed.catch(() => {})
    this.agent = new Agent(machine.agentLines)
    this.watch(machine)
  }

  get accelerator(): Accelerator {
    return this.options.accelerator
  }

  private watch(machine: Machine): void {
    machine.process.exited.then((exit) => {
      if (machine === this.machine && !this.isSaved) this.end(describeExit(machine.process, exit))
    })
    machine.qmp.on('event', ({ event, data }) => {
      if (event !== 'RESET' || data?.guest !== true || this.rebooting || machine !== this.machine) return
      // The last words of a panic arrive by another line than this event, so give them time.
      setTimeout(() => this.end('the guest restarted by itself'), CONSOLE_SETTLE_MS)
    })
  }

  get qmp(): Qmp {
    return this.machine.qmp
  }

  get console(): Console {
    return this.machine.console
  }

  /** QEMU's end. */
  get exited(): Promise<ProcessExit> {
    return this.machine.process.exited
  }

  /** QEMU and its arguments. */
  get commandLine(): readonly string[] {
    return this.machine.process.commandLine
  }

  get qemuPid(): number {
    return this.machine.process.pid
  }

  /** Runs a shell command to its end. Rejects if it takes too long, but not if it fails. */
  async run(command: string, options: RunOptions = {}): Promise<CommandResult> {
    return this.spawn(command, { timeoutMs: COMMAND_TIMEOUT_MS, ...options }).result
  }

  /** Runs a shell command that must succeed and returns its stdout. */
  async output(command: string, options: RunOptions = {}): Promise<string> {
    const { status, signal, stdout, stderr } = await this.run(command, options)
    if (status === 0) return stdout.toString()
    const how = signal === null ? `status ${status}` : `signal ${signal}`
    throw new Error(`in the guest, ${how} from: ${command}\n${stderr.toString().trim()}`)
  }

  /** Starts a shell command and returns at once. */
  spawn(command: string, { timeoutMs = 0, stdin }: RunOptions = {}): RunningCommand {
    this.expectRunning()
    const { agent } = this
    const input = typeof stdin === 'string' ? Buffer.from(stdin) : stdin
    const { id, report } = agent.start(command, { timeoutMs, stdin: input })
    const result = this.judge(command, timeoutMs, report)
    // A caller that does not await the result must not cause an unhandled rejection.
    result.catch(() => {})
    return { result, kill: (signal = SIGTERM) => agent.kill(id, signal) }
  }

  /** Starts a program that answers each line of its standard input with one line. */
  converse(command: string): Conversation {
    this.expectRunning()
    return new Conversation(this.agent, command, this.qemuPid)
  }

  /** Mounts a share. Rejects if the guest's kernel refuses. */
  async mount(tag: string, dir = '/mnt', options = 'rw'): Promise<void> {
    await this.output(`mkdir -p '${dir}' && mount -t virtiofs -o '${options}' '${tag}' '${dir}'`)
  }

  /** Like `QEMU 10.0.2 with TCG`. */
  async describeMachine(): Promise<string> {
    const { qemu } = (await this.qmp.execute('query-version')) as {
      qemu: Record<'major' | 'minor' | 'micro', number>
    }
    return `QEMU ${qemu.major}.${qemu.minor}.${qemu.micro} with ${this.accelerator.toUpperCase()}`
  }

  async kernelLog(): Promise<KernelMessage[]> {
    return parseKernelLog(await this.output('dmesg -r'))
  }

  /**
   * Plugs in more memory; needs `maxMemoryMiB`. Resolves once QEMU has it; the guest's kernel takes a moment more.
   */
  async addMemory(sizeMiB: number): Promise<void> {
    const id = `plugged${this.nextPlug++}`
    const size = sizeMiB * 1024 * 1024
    await this.qmp.execute('object-add', { 'qom-type': 'memory-backend-memfd', id, size, share: true })
    await this.qmp.execute('device_add', { driver: 'pc-dimm', id: `${id}-dimm`, memdev: id })
  }

  /** Restarts the guest. QEMU and its connection to the device stay. Commands in flight fail. */
  async reboot(timeoutMs = BOOT_TIMEOUT_MS): Promise<void> {
    this.rebooting = true
    this.agent.expectHello()
    this.agent.endMachine('reboot')
    this.agent.fail(new GuestError('the guest reboots'))
    await this.awaitAgent('reboot', timeoutMs)
    this.rebooting = false
  }

  /**
   * Moves the running guest to a new QEMU, whose shares are served at other sockets in the same order. Resolves to the
   * time between stop and go. After a failure the guest goes on in its old QEMU, and this rejects with QEMU's reason.
   * Commands that are given meanwhile start when it is over.
   */
  async migrate(
    socketPaths: readonly string[],
    qemuName?: string,
    { bandwidthBytes, meanwhile }: MigrateOptions = {},
  ): Promise<{ downtimeMs: number }> {
    const dir = makeTemporaryDir()
    const uri = `unix:${join(dir.path, 'incoming')}`
    const from = this.machine
    const to = await this.machineAt(socketPaths, uri, qemuName)
    try {
      await this.holdAgent()
      const move = moveGuest(from.qmp, uri, bandwidthBytes)
      const [downtimeMs] = await Promise.all([move, meanwhile?.(from.qmp, to.process)])
      await waitUntilRunning(to.qmp)
      this.goOnIn(to)
      from.process.signal('SIGKILL')
      await from.process.exited
      return { downtimeMs }
    } catch (error) {
      to.process.signal('SIGKILL')
      await to.process.exited
      await waitUntilRunning(from.qmp)
      this.agent.goOn()
      throw error
    } finally {
      dir.remove()
    }
  }

  /** Saves the running guest to a file and ends its QEMU. Until `restore` the guest does nothing. */
  async save(path: string): Promise<void> {
    const { process, qmp } = this.machine
    await this.holdAgent()
    await moveGuest(qmp, `file:${path}`)
    this.isSaved = true
    process.signal('SIGKILL')
    await process.exited
  }

  /**
   * Lets a saved guest go on in a new QEMU, whose shares are served at these sockets. Rejects with the last words of QEMU if
   * that refuses; the guest can then be restored elsewhere.
   */
  async restore(path: string, socketPaths: readonly string[], qemuName?: string): Promise<void> {
    const to = await this.machineAt(socketPaths, `file:${path}`, qemuName)
    const ended = to.process.exited.then((exit): never => {
      throw new GuestError(describeExit(to.process, exit))
    })
    ended.catch(() => {})
    // A QEMU that ends fails the wait, too, with less to say.
    await Promise.race([waitUntilRunning(to.qmp).catch(() => ended), ended])
    this.isSaved = false
    this.goOnIn(to)
  }

  private async holdAgent(): Promise<void> {
    await Promise.race([this.agent.hold(), this.failed])
  }

  private async machineAt(
    socketPaths: readonly string[],
    incoming: string,
    qemuName: string | undefined,
  ): Promise<Machine> {
    const shares = this.options.shares.map((share, n) => ({ ...share, socketPath: socketPaths[n]! }))
    return startMachine(await findQemu(qemuName), { ...this.options, shares, incoming })
  }

  private goOnIn(machine: Machine): void {
    this.machine = machine
    this.agent.moveTo(machine.agentLines)
    this.watch(machine)
  }

  /** Makes the guest sync and power off. */
  async shutdown(timeoutMs = SHUTDOWN_TIMEOUT_MS): Promise<void> {
    if (this.failure !== undefined) return
    const timer = setTimeout(
      () => this.end(`the guest did not switch itself off within ${timeoutMs} ms`),
      timeoutMs,
    )
    this.agent.endMachine('poweroff')
    const { status } = await this.exited.finally(() => clearTimeout(timer))
    if (status !== 0) throw this.failure
  }

  /** Ends QEMU at once. */
  async kill(): Promise<void> {
    this.end('the guest was killed')
    await this.exited
  }

  /** Resolves when the agent answers. Ends a guest that takes longer than `timeoutMs`. */
  async awaitAgent(what: string, timeoutMs: number): Promise<void> {
    const callOff = whenLate(this.qemuPid, timeoutMs, () =>
      this.end(`the ${what} took more than ${timeoutMs} ms`),
    )
    this.kernelRelease = await Promise.race([this.agent.hello, this.failed]).finally(callOff)
  }

  private expectRunning(): void {
    if (this.failure !== undefined) throw this.failure
    if (this.rebooting) throw new GuestError('the guest restarts: wait for reboot() to resolve')
  }

  private async judge(
    command: string,
    timeoutMs: number,
    report: Promise<CommandReport>,
  ): Promise<CommandResult> {
    const callOff =
      timeoutMs > 0
        ? whenLate(this.qemuPid, timeoutMs + AGENT_GRACE_MS, () => void this.endSilent(command))
        : () => {}
    const { timedOut, stack, ...result } = await report.finally(callOff)
    if (!timedOut) return result

    const what = `no end after ${timeoutMs} ms of: ${command}`
    if (stack === undefined) throw this.describe(what)
    this.end(`${what}\nit hangs in the guest's kernel:\n${stack}`)
    throw this.failure
  }

  /** Sends a non-maskable interrupt, on which a hanging kernel panics with stacks on the console. */
  private async endSilent(command: string): Promise<void> {
    await Promise.race([this.qmp.execute('inject-nmi').catch(() => {}), sleep(NMI_MS)])
    await Promise.race([this.failed.catch(() => {}), sleep(NMI_MS)])
    this.end(`the guest stopped answering during: ${command}`)
  }

  /** Fails everything that waits for the guest. The first reason counts. */
  private end(what: string): void {
    if (this.failure !== undefined) return
    this.failure = this.describe(what)
    this.fail(this.failure)
    this.agent.fail(this.failure)
    this.machine.process.signal('SIGKILL')
  }

  private describe(what: string): GuestError {
    return new GuestError(
      [what, 'last lines of its console:', ...this.console.lastLines(CONSOLE_LINES)].join('\n'),
    )
  }
}

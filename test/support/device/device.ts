import { type ChildProcess, spawn } from 'node:child_process'
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { servingPidOf } from '../../../vm/device/serving-pid.js'
import { descriptorsOf } from '../../../vm/host/descriptors-of.js'

const PROGRAM = fileURLToPath(new URL('../../../program/main.js', import.meta.url))
/** Only a hang takes this long. */
const TIMEOUT_MS = 20_000
const POLL_MS = 5
/** Set by `test/hostile/own-file-system.test.ts`: a module whose file system is served in place of the directory. */
const { TEST_FILE_SYSTEM } = process.env
const ownFileSystem = TEST_FILE_SYSTEM === undefined ? [] : ['--file-system', TEST_FILE_SYSTEM]
const O_PATH = 0o10000000
const KILL_AFTER_MS = 5_000

/** One line of the program's log. */
export interface LogLine {
  readonly level: number
  readonly time: number
  readonly msg: string
  /** Set when a share begins or is removed. */
  readonly directory?: string
  /** Set when a guest mounts. */
  readonly guest?: string
  readonly allowMmap?: string
  readonly parallelDio?: string
  readonly flags?: string
  /** Set when something is refused: the reason, and how many of its kind the log left out. */
  readonly code?: string
  readonly reason?: string
  readonly request?: string
  readonly opcode?: string
  readonly minor?: number
  readonly queue?: number
  readonly leftOut?: number
  /** Set when the configuration is read again. */
  readonly added?: number
  readonly removed?: number
  readonly changed?: number
  /** Set when a share goes on in another process. */
  readonly pauseMs?: number
}

/**
 * The place of the shared directory: in memory if the host has such a file system, or on the disk of this checkout.
 */
export type Storage = 'memory' | 'disk'

export interface DeviceOptions {
  readonly storage?: Storage
  /** A program, with arguments, that then runs node. */
  readonly launcher?: readonly string[]
  /** Default: none, since a test can inspect a process best if that process is not confined. */
  readonly sandbox?: 'none' | 'namespace' | 'chroot'
  /** The owner of the shared directory and the socket, for a launcher that becomes this user. Default: ours. */
  readonly owner?: number
  /** An existing directory to share; it is kept. Default: a temporary one. */
  readonly directory?: string
}

/** The program itself, as a process on a directory of its own. It is stopped and removed when the test ends. */
export class Device {
  /** The shared directory. */
  readonly directory: string
  readonly socketPath: string
  private readonly logPath: string
  private readonly process: ChildProcess
  private servingPid: number | undefined
  /** Its end is no news: it was killed on purpose, or its start has failed and said so. */
  private endIsKnown = false
  private readonly ended: Promise<{ status: number | null; signal: string | null }>

  /** Starts it with `args` and waits until it listens. */
  static async start(t: Test, args: readonly string[] = [], options: DeviceOptions = {}): Promise<Device> {
    const directory =
      options.directory ?? mkdtempSync(join(storagePath(options.storage ?? 'memory'), 'vfs-share-'))
    const state = mkdtempSync(join(tmpdir(), 'vfs-'))
    const { launcher = [], sandbox = 'none', owner } = options
    if (owner !== undefined) for (const path of [directory, state]) chownSync(path, owner, owner)
    // On every machine the same, whatever the number of processors.
    const threads = args.includes('--queue-threads') ? [] : ['--queue-threads', '1']
    const all = [...ownFileSystem, ...threads, ...args, '--sandbox', sandbox]
    const device = new Device(directory, state, all, launcher)
    t.teardown(async () => {
      const { exitCode, signalCode } = device.process
      if (device.hasExited && exitCode !== 0 && !device.endIsKnown) {
        t.fail(
          `the device ended by itself (${exitCode ?? signalCode}):\n${readFileSync(device.logPath, 'utf8')}`,
        )
      }
      await device.stop()
      if (options.directory === undefined) rmSync(directory, { recursive: true, force: true })
      rmSync(state, { recursive: true, force: true })
    })
    await device
      .waitForLog((line) => line.msg.startsWith('ready'))
      .catch((error) => {
        device.endIsKnown = true
        throw error
      })
    device.findServingProcess()
    return device
  }

  /** Looks for the process that serves: another one may have taken its place. */
  findServingProcess(): void {
    this.servingPid = servingPidOf(this.outerPid)
  }

  /** Waits until another process serves than before: that one may still be about to leave. */
  async findSuccessor(): Promise<void> {
    const { pid } = this
    const endMs = performance.now() + TIMEOUT_MS
    for (this.findServingProcess(); this.pid === pid; this.findServingProcess()) {
      if (performance.now() > endMs) throw new Error(`process ${pid} still serves`)
      await sleep(POLL_MS)
    }
  }

  private constructor(
    directory: string,
    state: string,
    args: readonly string[],
    launcher: readonly string[],
  ) {
    this.directory = directory
    this.socketPath = join(state, 'socket')
    this.logPath = join(state, 'log')
    const logFd = openSync(this.logPath, 'w')
    const paths = ['--shared-dir', directory, '--socket-path', this.socketPath]
    const { PATH } = process.env
    // Removes the hooks that the test runner adds to the environment of every child.
    const clean = ['-i', `PATH=${PATH}`]
    const command = [...clean, ...launcher, process.execPath, PROGRAM, ...paths, ...args]
    this.process = spawn('env', command, { stdio: ['ignore', logFd, logFd] })
    closeSync(logFd)
    this.ended = new Promise((resolve) => {
      this.process.on('exit', (status, signal) => resolve({ status, signal }))
    })
  }

  private get hasExited(): boolean {
    return this.process.exitCode !== null || this.process.signalCode !== null
  }

  /** The id of the process that serves: in a sandbox, the child of the started one. */
  get pid(): number {
    return this.servingPid ?? (this.process.pid as number)
  }

  /** The id of the started process. */
  get outerPid(): number {
    return this.process.pid as number
  }

  /** Returns its log so far. Throws on a line that is not JSON, such as a stack trace. */
  logs(): LogLine[] {
    const text = readFileSync(this.logPath, 'utf8')
    const whole = text.slice(0, text.lastIndexOf('\n') + 1)
    return whole
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => parse(line, text))
  }

  /** Waits for the first line that `matches`. */
  async waitForLog(matches: (line: LogLine) => boolean): Promise<LogLine> {
    const endMs = performance.now() + TIMEOUT_MS
    for (;;) {
      const line = this.logs().find(matches)
      if (line !== undefined) return line
      if (performance.now() > endMs || !this.alive) {
        throw new Error(`the line never came; the log:\n${readFileSync(this.logPath, 'utf8')}`)
      }
      await sleep(POLL_MS)
    }
  }

  get alive(): boolean {
    try {
      return !/^State:\tZ/m.test(readFileSync(`/proc/${this.pid}/status`, 'utf8'))
    } catch {
      return false
    }
  }

  /** Returns its open files, as /proc names them. */
  openFiles(): string[] {
    return descriptorsOf(this.pid)
  }

  /** Returns the open(2) flags of every descriptor on a file of the share, except those of inodes (O_PATH). */
  openFlagsOf(name: string): number[] {
    const path = `/proc/${this.pid}`
    return readdirSync(`${path}/fd`)
      .filter((fd) => readlinkSync(`${path}/fd/${fd}`).endsWith(`/${name}`))
      .map((fd) =>
        Number.parseInt(/flags:\t(\d+)/.exec(readFileSync(`${path}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8),
      )
      .filter((flags) => (flags & O_PATH) === 0)
  }

  /** Returns each thread's identity: the lines of /proc/PID/task/TID/status about users and groups. */
  threadIdentities(): string[] {
    const path = `/proc/${this.pid}/task`
    return readdirSync(path).map((tid) =>
      readFileSync(`${path}/${tid}/status`, 'utf8')
        .split('\n')
        .filter((line) => /^(Uid|Gid|Groups):/.test(line))
        .map((line) => line.replaceAll(/\s+/g, ' ').trim())
        .join(', '),
    )
  }

  fdCount(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }

  /** Waits until the number of its descriptors has stayed the same for half a second. Returns that number. */
  async restingFdCount(): Promise<number> {
    let count = this.fdCount()
    for (let same = 0; same < 10; same++) {
      await sleep(50)
      if (this.fdCount() === count) continue
      count = this.fdCount()
      same = 0
    }
    return count
  }

  /** Waits until it holds `count` descriptors. It notices a front-end's end only a moment later. */
  async waitForFdCount(count: number): Promise<number> {
    const endMs = performance.now() + TIMEOUT_MS
    while (this.fdCount() !== count) {
      if (performance.now() > endMs) {
        throw new Error(`${this.fdCount()} descriptors, not ${count}: ${this.openFiles().sort().join(', ')}`)
      }
      await sleep(POLL_MS)
    }
    return count
  }

  /** Waits for its end. Returns the exit status or signal. */
  exited(): Promise<{ status: number | null; signal: string | null }> {
    return this.ended
  }

  /** It is about to fail, which is not a failure of the test then. */
  expectFailure(): void {
    this.endIsKnown = true
  }

  /** Kills it, which is not a failure of the test then. */
  killOnPurpose(): void {
    this.endIsKnown = true
    this.process.kill('SIGKILL')
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal)
  }

  async stop(): Promise<void> {
    if (this.hasExited) return
    this.process.kill('SIGTERM')
    const last = setTimeout(() => this.process.kill('SIGKILL'), KILL_AFTER_MS)
    await this.ended
    clearTimeout(last)
  }
}

function parse(line: string, log: string): LogLine {
  try {
    return JSON.parse(line) as LogLine
  } catch {
    throw new Error(`the program wrote what is no log line:\n${log}`)
  }
}

function storagePath(storage: Storage): string {
  if (storage === 'memory' && existsSync('/dev/shm')) return '/dev/shm'
  const path = join(process.cwd(), '.tap')
  mkdirSync(path, { recursive: true })
  return path
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

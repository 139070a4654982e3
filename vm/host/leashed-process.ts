import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { onProcessExit } from './exit-hooks.js'
import { readLines } from './lines.js'
import type { Program } from './program.js'
import { SetupError } from './setup-error.js'

const KEPT_LINES = 1_000
const LAST_WORDS = 4

/**
 * Ties the program's life to ours. Also removes environment variables that hook into Node, such as a test runner's
 * loader: a device that has sealed itself would treat the loader as an intruder.
 */
const LEASH = ['--pdeathsig', 'KILL', '--', 'env', '-u', 'NODE_OPTIONS']

/** The end of a process: an exit status, or a signal. */
export interface ProcessExit {
  status: number | null
  signal: NodeJS.Signals | null
}

/**
 * A long-running program that never outlives this process: hooks kill its process group when we end, and the kernel
 * kills it when we are killed. Keeps the program's last lines; emits 'line' for each.
 */
export class LeashedProcess extends EventEmitter<{ line: [string] }> {
  readonly exited: Promise<ProcessExit>
  /** The program's last lines on stdout or stderr. */
  readonly log: string[] = []
  private readonly child: ChildProcess
  /** The program and its arguments. */
  readonly commandLine: readonly string[]
  /** True if `exited` has been decided. */
  ended = false

  constructor(
    readonly name: string,
    program: Program,
    args: string[],
    /** 'pipe' is needed for `tell`. */
    stdin: 'ignore' | 'pipe' = 'ignore',
  ) {
    super()
    this.commandLine = [program.command, ...program.args, ...args]
    // setpriv and env execute the program, so the process id is the program's own.
    this.child = spawn('setpriv', [...LEASH, program.command, ...program.args, ...args], {
      stdio: [stdin, 'pipe', 'pipe'],
      env: { ...process.env, ...program.env },
      // The program gets its own process group, so that we handle Ctrl-C on the terminal.
      detached: true,
    })
    const unhook = onProcessExit(() => this.signal('SIGKILL'))
    this.exited = new Promise<ProcessExit>((resolve, reject) => {
      this.child.once('error', () =>
        reject(new SetupError('the command setpriv (package util-linux) is not installed')),
      )
      this.child.once('close', (status, signal) => resolve({ status, signal }))
    }).finally(() => {
      this.ended = true
      unhook()
    })
    // Nobody needs to await `exited`; without this line a rejection would be unhandled.
    this.exited.catch(() => {})
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      readLines(stream, (line) => this.keep(line))
    }
  }

  get pid(): number {
    return this.child.pid!
  }

  /** Writes a line to the program's input. */
  protected tell(line: string): void {
    this.child.stdin!.write(`${line}\n`)
  }

  /** Signals the program's process group: the program and everything it started. */
  signal(signal: NodeJS.Signals): void {
    if (this.ended || this.child.pid === undefined) return
    try {
      process.kill(-this.child.pid, signal)
    } catch {
      // The process ended in between.
    }
  }

  /** Ends the program with SIGTERM, or with SIGKILL if it has not ended after `graceMs`. */
  async stop(graceMs = 5_000): Promise<ProcessExit> {
    this.signal('SIGTERM')
    const timer = setTimeout(() => this.signal('SIGKILL'), graceMs)
    return this.exited.finally(() => clearTimeout(timer))
  }

  private keep(line: string): void {
    this.log.push(line)
    if (this.log.length > KEPT_LINES) this.log.shift()
    this.emit('line', line)
  }
}

/** Describes on one line how a process ended, and its last output. */
export function describeExit({ name, log }: LeashedProcess, { status, signal }: ProcessExit): string {
  const how = signal === null ? `ended with status ${status}` : `was ended by ${signal}`
  const lastWords = log.filter((line) => line.trim() !== '').slice(-LAST_WORDS)
  return [`${name} ${how}`, ...lastWords].join(' | ')
}

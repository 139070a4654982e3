import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { readLines } from '../host/lines.js'

/** The end of a command in the guest, as vm/guest/agent/agent.c reports it. */
export interface CommandReport {
  /** The exit status, or null if a signal ended it. */
  status: number | null
  /** The number of the signal that ended it, or null. */
  signal: number | null
  stdout: Buffer
  stderr: Buffer
  /** Duration by the guest's monotonic clock. */
  ms: number
  timedOut: boolean
  /** The kernel stack of a command that not even SIGKILL ended. */
  stack?: string
}

type Message =
  | { hello: string }
  | { ack: 1 }
  | { id: number; stdout: string }
  | { id: number; stderr: string }
  | { id: number; error: string }
  | { id: number; status: number; signal: number; ms: number; timedOut: boolean; stack?: string }

export interface StartOptions {
  /** The command is killed after this time; 0 sets no limit. */
  timeoutMs: number
  /** The command's standard input. 'open': `write` sends it until `endInput`. Default: none. */
  stdin?: Uint8Array | 'open' | undefined
  /** Receives each piece of stdout as it comes; the report then has none of it. */
  hear?: (piece: Buffer) => void
}

interface Job {
  hear: (piece: Buffer) => void
  stdout: Buffer[]
  stderr: Buffer[]
  resolve: (report: CommandReport) => void
  reject: (error: Error) => void
}

/** A line must fit the serial port's buffer in the guest, and base64 makes four bytes of three. */
const PIECE_BYTES = 16_384

/** The host's end of the line to the guest's agent. The messages are described in vm/guest/agent/agent.c. */
export class Agent {
  private readonly jobs = new Map<number, Job>()
  private readonly queue: string[] = []
  private awaitsAck = false
  private isHeld = false
  /** Called when the guest has every line that was sent. */
  private caughtUp = (): void => {}
  private line: Socket
  private expectsHello = true
  private greet!: (release: string) => void
  private nextId = 1
  /** The kernel's release, sent by an agent that has just started: after boot, and after each expected reboot. */
  hello: Promise<string> = this.expectHello()

  private lines: Socket[] = []
  /** What came by each line, from one machine after the other: a message may begin in one and end in the next. */
  private readonly heard: PassThrough[]

  /** The agent chooses one of `lines` by its greeting. */
  constructor(lines: Socket[]) {
    this.line = lines[0]!
    this.heard = lines.map((_, n) => {
      const heard = new PassThrough()
      readLines(heard, (text) => this.receive(text, n))
      return heard
    })
    this.listen(lines)
  }

  /**
   * Resolves when the guest has every line that was sent. Further ones wait until `moveTo` or `goOn`: a line that a machine
   * has not handed to its guest when that moves on is lost.
   */
  async hold(): Promise<void> {
    this.isHeld = true
    if (!this.awaitsAck) return
    await new Promise<void>((resolve) => {
      this.caughtUp = resolve
    })
  }

  /** Sends lines again after `hold`. */
  goOn(): void {
    this.isHeld = false
    this.sendNext()
  }

  /** Goes on behind the same lines of another machine, to which the guest has moved. The old machine is about to end. */
  moveTo(lines: Socket[]): void {
    const before = this.lines
    this.line = lines[before.indexOf(this.line)]!
    this.listen(lines, before)
    this.goOn()
  }

  /** Each of `before` is heard to its end first. */
  private listen(lines: Socket[], before: readonly Socket[] = []): void {
    this.lines = lines
    for (const [n, line] of lines.entries()) {
      const hear = () => line.on('data', (bytes: Buffer) => this.heard[n]!.write(bytes))
      const last = before[n]
      if (last === undefined || last.closed) hear()
      else last.once('close', hear)
    }
  }

  /** Makes `hello` wait for a new agent from now on, and drops messages not yet sent to the old one. */
  expectHello(): Promise<string> {
    this.expectsHello = true
    this.queue.length = 0
    this.hello = new Promise((resolve) => {
      this.greet = resolve
    })
    return this.hello
  }

  /** Starts /bin/sh -c `command`. */
  start(
    command: string,
    { timeoutMs, stdin, hear }: StartOptions,
  ): { id: number; report: Promise<CommandReport> } {
    const bytes = Buffer.from(command)
    if (bytes.length > PIECE_BYTES) {
      throw new Error(`a command of ${bytes.length} bytes is too long: give it to sh as standard input`)
    }
    const id = this.nextId++
    const report = new Promise<CommandReport>((resolve, reject) => {
      const stdout: Buffer[] = []
      this.jobs.set(id, {
        stdout,
        hear: hear ?? ((piece) => stdout.push(piece)),
        stderr: [],
        resolve,
        reject,
      })
    })
    this.send(`run ${id} ${timeoutMs} ${stdin === undefined ? 0 : 1} ${bytes.toString('base64')}`)
    if (stdin instanceof Uint8Array) {
      this.write(id, stdin)
      this.endInput(id)
    }
    return { id, report }
  }

  /** Sends more of a command's standard input. */
  write(id: number, input: Uint8Array): void {
    const bytes = Buffer.from(input)
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      this.send(`stdin ${id} ${bytes.toString('base64', at, at + PIECE_BYTES)}`)
    }
  }

  endInput(id: number): void {
    this.send(`eof ${id}`)
  }

  kill(id: number, signal: number): void {
    this.send(`kill ${id} ${signal}`)
  }

  endMachine(how: 'reboot' | 'poweroff'): void {
    this.send(how)
  }

  /** Fails every command in flight with `error`, since no answer can come any more. */
  fail(error: Error): void {
    for (const job of this.jobs.values()) job.reject(error)
    this.jobs.clear()
  }

  private send(line: string): void {
    this.queue.push(line)
    this.sendNext()
  }

  private sendNext(): void {
    if (this.awaitsAck || this.isHeld || this.queue.length === 0) return
    this.awaitsAck = true
    this.line.write(`${this.queue.shift()}\n`)
  }

  private receive(text: string, lineIndex: number): void {
    const message = parseMessage(text)
    if (message === undefined) {
      // A reset may cut a line short, and firmware may write to the port; at other times a bad line is an error.
      if (!this.expectsHello) this.fail(new Error(`not a message of the guest's agent: ${text.slice(0, 80)}`))
    } else if ('id' in message) {
      const job = this.jobs.get(message.id)
      if (job !== undefined) this.advance(job, message)
    } else {
      if ('hello' in message) this.meet(message.hello, this.lines[lineIndex]!)
      // The line was acknowledged, or never will be: a new agent knows nothing of it.
      this.awaitsAck = false
      this.caughtUp()
      this.sendNext()
    }
  }

  private meet(release: string, line: Socket): void {
    this.expectsHello = false
    this.line = line
    this.greet(release)
  }

  private advance(job: Job, message: Extract<Message, { id: number }>): void {
    if ('stdout' in message) {
      job.hear(Buffer.from(message.stdout, 'base64'))
    } else if ('stderr' in message) {
      job.stderr.push(Buffer.from(message.stderr, 'base64'))
    } else {
      this.jobs.delete(message.id)
      if ('error' in message) job.reject(new Error(`the guest refused the command: ${message.error}`))
      else job.resolve(toReport(job, message))
    }
  }
}

function parseMessage(text: string): Message | undefined {
  try {
    return JSON.parse(text) as Message
  } catch {
    return undefined
  }
}

function toReport(job: Job, end: Extract<Message, { status: number }>): CommandReport {
  return {
    status: end.status < 0 ? null : end.status,
    signal: end.signal === 0 ? null : end.signal,
    stdout: Buffer.concat(job.stdout),
    stderr: Buffer.concat(job.stderr),
    ms: end.ms,
    timedOut: end.timedOut,
    ...(end.stack === undefined ? {} : { stack: Buffer.from(end.stack, 'base64').toString() }),
  }
}

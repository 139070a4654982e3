import { StringDecoder } from 'node:string_decoder'
import { whenLate } from '../host/patience.js'
import type { Agent } from './agent.js'

interface Question {
  resolve: (answer: string) => void
  reject: (error: Error) => void
}

/** A program in the guest has not answered, or not ended, in time. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** The default time limit of `ask`. */
const ANSWER_TIMEOUT_MS = 60_000
const KILL_TIMEOUT_MS = 5_000
const SIGKILL = 9

/** A program in the guest that answers each line of its standard input with one line, in their order. */
export class Conversation {
  private readonly id: number
  private readonly questions: Question[] = []
  private readonly decoder = new StringDecoder('utf8')
  private pending = ''
  private over: Error | undefined
  /** Resolves when the program has ended, for any reason. */
  readonly ended: Promise<void>

  /** Use Guest.converse. */
  constructor(
    private readonly agent: Agent,
    private readonly command: string,
    /** QEMU's process; time that it waits for a processor does not count against time limits. */
    private readonly qemuPid: number,
  ) {
    const { id, report } = agent.start(command, {
      timeoutMs: 0,
      stdin: 'open',
      hear: (piece) => this.hear(this.decoder.write(piece)),
    })
    this.id = id
    this.ended = report.then(
      ({ stderr }) => this.end(new Error(`${command} has ended: ${stderr.toString().trim()}`)),
      (error: Error) => this.end(error),
    )
  }

  /** Rejects if the program ends, or does not answer within `timeoutMs`. */
  async ask(line: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<string> {
    if (this.over !== undefined) throw this.over
    let callOff = (): void => {}
    const answer = new Promise<string>((resolve, reject) => {
      this.questions.push({ resolve, reject })
      const late = (): void => reject(new NoAnswer(`${this.command}: no answer to: ${line}`))
      callOff = whenLate(this.qemuPid, timeoutMs, late)
    })
    this.agent.write(this.id, Buffer.from(`${line}\n`))
    return answer.finally(callOff)
  }

  /** Ends the program with SIGKILL. Resolves when it is gone; rejects if it hangs in the guest's kernel. */
  async kill(): Promise<void> {
    if (this.over === undefined) this.agent.kill(this.id, SIGKILL)
    let callOff = (): void => {}
    const late = new Promise<never>((_, reject) => {
      const error = new NoAnswer(`${this.command} cannot be killed`)
      callOff = whenLate(this.qemuPid, KILL_TIMEOUT_MS, () => reject(error))
    })
    await Promise.race([this.ended, late]).finally(callOff)
  }

  private hear(text: string): void {
    const lines = (this.pending + text).split('\n')
    this.pending = lines.pop() ?? ''
    for (const line of lines) this.questions.shift()?.resolve(line)
  }

  private end(error: Error): void {
    this.over = error
    for (const { reject } of this.questions.splice(0)) reject(error)
  }
}

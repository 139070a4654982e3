import { StringDecoder } from 'node:string_decoder'
import type { Agent } from './agent.js'

interface Question {
  resolve: (answer: string) => void
  reject: (error: Error) => void
}

/** How long `ask` waits unless it is told. */
const ANSWER_TIMEOUT_MS = 60_000
const KILL_TIMEOUT_MS = 20_000
const SIGKILL = 9

/** A program in the guest that answers each line of its standard input with one line, in their order. */
export class Conversation {
  private readonly id: number
  private readonly questions: Question[] = []
  private readonly decoder = new StringDecoder('utf8')
  private pending = ''
  private over: Error | undefined
  /** Resolves when the program has ended, however. */
  readonly ended: Promise<void>

  /** Use Guest.converse. */
  constructor(
    private readonly agent: Agent,
    private readonly command: string,
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

  /** Rejects when the program ends, or does not answer for `timeoutMs`. */
  async ask(line: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<string> {
    if (this.over !== undefined) throw this.over
    let timer: NodeJS.Timeout | undefined
    const answer = new Promise<string>((resolve, reject) => {
      this.questions.push({ resolve, reject })
      timer = setTimeout(() => reject(new Error(`${this.command}: no answer to: ${line}`)), timeoutMs)
    })
    this.agent.write(this.id, Buffer.from(`${line}\n`))
    return answer.finally(() => clearTimeout(timer))
  }

  /** Ends it with SIGKILL, at whatever it is. Resolves when it is gone; rejects when it hangs in the guest's kernel. */
  async kill(): Promise<void> {
    if (this.over === undefined) this.agent.kill(this.id, SIGKILL)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const error = new Error(`${this.command} cannot be killed`)
      timer = setTimeout(() => reject(error), KILL_TIMEOUT_MS)
    })
    await Promise.race([this.ended, late]).finally(() => clearTimeout(timer))
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

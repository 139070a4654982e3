import { type Conversation, NoAnswer } from '../guest/conversation.js'
import type { Guest } from '../guest/guest.js'
import type { Races } from './races.js'

/** An operation of a case takes milliseconds. One that takes this long hangs. */
const ANSWER_TIMEOUT_MS = 10_000
/** io-actor's own limit for settling. */
const SETTLE_TIMEOUT_MS = 40_000

/** A value, or the name of an errno. */
export type Outcome = { value: number | string } | { error: string }

/** The threads of an actor that have not ended all sleep. Counts them by the guest kernel's function. */
export interface Settled {
  ended: number
  waiting: Record<string, number>
}

/** A process in the guest that carries out file operations on command: vm/guest/programs/io-actor. */
export class Actor {
  private readonly conversation: Conversation
  private started = 0

  /** `tell` is called with each line to the actor. */
  constructor(
    guest: Guest,
    private readonly races: Races,
    private readonly tell: (line: string) => void = () => {},
  ) {
    this.conversation = guest.converse('exec io-actor')
  }

  /** An operation that may fail, such as `map m file 4096 shared r`. */
  async attempt(operation: string): Promise<Outcome> {
    return this.ask<Outcome>(operation)
  }

  /** An operation that must succeed. */
  async do(operation: string): Promise<number | string> {
    const outcome = await this.attempt(operation)
    if ('error' in outcome) throw new Error(`in the guest, ${outcome.error} from: ${operation}`)
    return outcome.value
  }

  /** Starts an operation in a thread of its own. */
  async start(operation: string): Promise<void> {
    this.started++
    this.races.begin()
    await this.do(`start ${operation}`)
  }

  /** Resolves when at least `ended` of the started operations have ended and all others sleep in the kernel. */
  async settle(ended = 0): Promise<Settled> {
    const answer = await this.ask<Settled | { error: string }>(`settle ${ended}`, SETTLE_TIMEOUT_MS)
    if ('error' in answer) throw new NoAnswer('the guest did not come to rest')
    return answer
  }

  /** Resolves when all started operations have ended. Returns their outcomes in the order of their start. */
  async join(): Promise<Outcome[]> {
    const { results } = await this.ask<{ results: Outcome[] }>('join', SETTLE_TIMEOUT_MS)
    this.endRace()
    return results
  }

  /** Ends the process in the middle of any operation. The kernel closes its files. */
  async leave(): Promise<void> {
    this.tell('(ends)')
    await this.conversation.kill()
    this.endRace()
  }

  private endRace(): void {
    this.races.end(this.started)
    this.started = 0
  }

  private async ask<T>(line: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<T> {
    this.tell(line)
    return JSON.parse(await this.conversation.ask(line, timeoutMs)) as T
  }
}

import { performance } from 'node:perf_hooks'
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { isRefusal } from './command-arguments.js'
import type { WorkerCommand, WorkerMessage } from './worker-messages.js'

type Outcome = { readonly result: unknown } | { readonly error: string }

/** The commands that the main thread sends to a share. They are carried out and answered one after the other. */
export class CommandPort {
  /** A command is carried out that takes longer than its turn: those after it wait. */
  private isChanging = false

  /**
   * `carryOut` returns the result or a promise of it, and refuses a command by what `isRefusal` knows. `guarded` runs what
   * comes after such a promise.
   */
  constructor(
    private readonly port: MessagePort,
    private readonly carryOut: (command: WorkerCommand) => unknown,
    private readonly tell: (message: WorkerMessage) => void,
    private readonly guarded: (work: () => void) => void,
  ) {}

  /** Carries out the commands that have come. */
  run(): void {
    while (!this.isChanging) {
      const got = receiveMessageOnPort(this.port)
      if (got === undefined) return
      // ShareClient sends only commands on this port.
      const command = got.message as WorkerCommand
      const startMs = performance.now()
      const outcome = outcomeOf(() => this.carryOut(command))
      const tookMs = performance.now() - startMs
      const answer = (result: Outcome) => this.tell({ type: 'answer', id: command.id, ...result, tookMs })
      if ('later' in outcome) this.answerLater(outcome.later, answer)
      else answer(outcome)
    }
  }

  private answerLater(later: Promise<unknown>, answer: (outcome: Outcome) => void): void {
    this.isChanging = true
    const settled = (result: () => unknown) => {
      this.isChanging = false
      this.guarded(() => {
        const outcome = outcomeOf(result)
        if (!('later' in outcome)) answer(outcome)
        this.run()
      })
    }
    later.then(
      (result) => settled(() => result),
      (error) =>
        settled(() => {
          throw error
        }),
    )
  }
}

/** Runs a command. Its refusal is an outcome; any other error is a bug, and thrown. */
function outcomeOf(run: () => unknown): Outcome | { readonly later: Promise<unknown> } {
  try {
    const result = run()
    return result instanceof Promise ? { later: result } : { result }
  } catch (error) {
    if (!isRefusal(error)) throw error
    return { error: error.message }
  }
}

import type { ShareClient } from '../share/share-client.js'
import type { ShareCommandName } from '../share/worker-messages.js'

/**
 * Between two commands a share's thread serves its guest for at least this long, and for at least this
 * multiple of the last command's duration.
 */
const LEAST_GAP_MS = 1
const GAP_PER_MS = 20

/**
 * Sends commands to a share's thread one at a time and leaves the thread time for its guest in between,
 * whatever the number of clients and commands. An answer is never older than its question: clients share a
 * report only if they all asked before the thread began to make it.
 */
export class PacedAsking {
  private readonly waiting = new Map<string, Promise<unknown>>()
  private turn: Promise<unknown> = Promise.resolve()

  constructor(private readonly client: Pick<ShareClient, 'ask' | 'busyMs'>) {}

  /**
   * Sends a command. `report`: the command only reads, so equal commands may share one answer. Rejects as the
   * thread does.
   */
  ask(command: ShareCommandName, argument: unknown, report: boolean): Promise<unknown> {
    const key = JSON.stringify([command, argument])
    const same = report ? this.waiting.get(key) : undefined
    if (same !== undefined) return same
    const answer = this.turn.then(() => {
      this.waiting.delete(key)
      return this.client.ask(command, argument)
    })
    if (report) this.waiting.set(key, answer)
    this.turn = this.turn.then(() => this.rest(answer))
    return answer
  }

  /** Resolves when the answer has come and the thread has had its time for the guest. */
  private async rest(answer: Promise<unknown>): Promise<void> {
    // Counts the thread's own time, not the time until the answer came: the latter also includes other load.
    const { busyMs } = this.client
    await answer.catch(() => {})
    const gapMs = Math.max(LEAST_GAP_MS, GAP_PER_MS * (this.client.busyMs - busyMs))
    // By the global timer, which tests can replace.
    await new Promise((resolve) => setTimeout(resolve, gapMs))
  }
}

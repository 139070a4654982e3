import type { ShareThread } from '../share/share-thread.js'
import type { ShareCommandName } from '../share/worker-messages.js'

/** Between two commands a share's thread serves its guest this long at least, and so many times what the last one took. */
const LEAST_GAP_MS = 1
const GAP_PER_MS = 20

/**
 * Asks a share's thread one thing after the other, and leaves it time for its guest in between, however many clients ask
 * for however much. Every answer was made after it was asked for: those who wait for the same report share it only until
 * its making begins.
 */
export class PacedAsking {
  private readonly waiting = new Map<string, Promise<unknown>>()
  private turn: Promise<unknown> = Promise.resolve()

  constructor(private readonly thread: Pick<ShareThread, 'ask' | 'busyMs'>) {}

  /** `report`: asking twice is the same as asking once. Rejects as the thread does. */
  ask(command: ShareCommandName, argument: unknown, report: boolean): Promise<unknown> {
    const key = JSON.stringify([command, argument])
    const same = report ? this.waiting.get(key) : undefined
    if (same !== undefined) return same
    const answer = this.turn.then(() => {
      this.waiting.delete(key)
      return this.thread.ask(command, argument)
    })
    if (report) this.waiting.set(key, answer)
    this.turn = this.turn.then(() => this.rest(answer))
    return answer
  }

  /** Resolves when the answer is there and the thread has had its time. */
  private async rest(answer: Promise<unknown>): Promise<void> {
    // Not the time until the answer came: on a busy machine that says nothing about the command.
    const { busyMs } = this.thread
    await answer.catch(() => {})
    const gapMs = Math.max(LEAST_GAP_MS, GAP_PER_MS * (this.thread.busyMs - busyMs))
    await new Promise((resolve) => setTimeout(resolve, gapMs))
  }
}

import { LINE_WORDS } from './epochs.js'

const FREE = 0
const HELD = 1
/** Held, and a thread sleeps until it is free. */
const AWAITED = 2

/** Looks at a held lock before the thread sleeps. */
const SPINS = 200

/** Locks in shared memory, each in a cache line of its own. A thread holds one, and the pool's after it. */
export class Stripes {
  constructor(private readonly words: Int32Array) {}

  static wordCount(count: number): number {
    return count * LINE_WORDS
  }

  lock(stripe: number): void {
    if (Atomics.compareExchange(this.words, stripe * LINE_WORDS, FREE, HELD) !== FREE)
      this.wait(stripe * LINE_WORDS)
  }

  unlock(stripe: number): void {
    const at = stripe * LINE_WORDS
    if (Atomics.exchange(this.words, at, FREE) === AWAITED) Atomics.notify(this.words, at, 1)
  }

  private wait(at: number): void {
    const { words } = this
    for (let n = 0; n < SPINS; n++)
      if (Atomics.load(words, at) === FREE && Atomics.compareExchange(words, at, FREE, HELD) === FREE) return
    while (Atomics.exchange(words, at, AWAITED) !== FREE) Atomics.wait(words, at, AWAITED)
  }
}

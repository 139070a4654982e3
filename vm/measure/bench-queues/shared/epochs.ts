/** Words of a cache line: what different threads write lies in different lines. */
export const LINE_WORDS = 16

/** The state of a thread that holds nothing it has read. */
const IDLE = 0
const GLOBAL = 0

/** Epochs are odd, so none is IDLE, and wrap around: two that are compared are never 2^31 apart. */
const FIRST_EPOCH = 1
const STEP = 2

/**
 * Postpones the freeing of what another thread may have read until that thread has ended its batch. A thread calls `enter`
 * before it reads shared rows, and `leave` when it keeps nothing that it has read. What is retired must be unreachable for
 * threads that enter later.
 */
export class Epochs {
  private readonly own: number
  private isInside = false
  /** What this thread has retired, oldest first: [value, epoch]. */
  private queue: number[] = []
  private head = 0

  /** `words`: `wordCount(threads)` of shared memory, zero at first. */
  constructor(
    private readonly words: Int32Array,
    thread: number,
    private readonly threads: number,
    private readonly free: (value: number) => void,
  ) {
    this.own = (1 + thread) * LINE_WORDS
    Atomics.compareExchange(words, GLOBAL, 0, FIRST_EPOCH)
  }

  static wordCount(threads: number): number {
    return (1 + threads) * LINE_WORDS
  }

  /** Returns false if the thread is inside already. */
  enter(): boolean {
    if (this.isInside) return false
    this.isInside = true
    Atomics.store(this.words, this.own, Atomics.load(this.words, GLOBAL))
    return true
  }

  leave(): void {
    if (this.isInside) {
      this.isInside = false
      Atomics.store(this.words, this.own, IDLE)
    }
    if (this.head < this.queue.length) this.collect()
  }

  /** `free(value)` is called once no thread can have read it before now. */
  retire(value: number): void {
    this.queue.push(value, Atomics.load(this.words, GLOBAL))
  }

  /** Number of values that wait. */
  get waiting(): number {
    return (this.queue.length - this.head) / 2
  }

  private collect(): void {
    const { words, threads, queue } = this
    // Threads that enter from here on cannot have read what is in the queue.
    let oldest = (Atomics.add(words, GLOBAL, STEP) + STEP) | 0
    for (let n = 1; n <= threads; n++) {
      const epoch = Atomics.load(words, n * LINE_WORDS)
      if (epoch !== IDLE && isBefore(epoch, oldest)) oldest = epoch
    }
    let { head } = this
    while (head < queue.length && isBefore(queue[head + 1]!, oldest)) {
      this.free(queue[head]!)
      head += 2
    }
    this.head = head
    if (head === queue.length) {
      queue.length = 0
      this.head = 0
    }
  }
}

function isBefore(epoch: number, other: number): boolean {
  return ((epoch - other) | 0) < 0
}

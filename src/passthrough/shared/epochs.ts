/** Words of a cache line: what different threads write lies in different lines. */
export const LINE_WORDS = 16

/** The state of a thread that holds nothing it has read. */
const IDLE = 0
const GLOBAL = 0

/** Epochs are odd, so none is IDLE, and wrap around: two that are compared are never 2^31 apart. */
const FIRST_EPOCH = 1
const STEP = 2
/** The global epoch does not go on while a thread is that far behind: one whose system call does not return. */
const MOST_BEHIND = 2 ** 30

/**
 * Postpones the freeing of what another thread may have read until that thread has ended its batch. A thread calls `enter`
 * before it reads shared rows, and `leave` when it keeps nothing that it has read. What is retired must be unreachable for
 * threads that enter later.
 */
export class Epochs {
  private readonly own: number
  private isInside = false
  /** What this thread has retired, oldest first: [value, epoch]. */
  private readonly queue: number[] = []
  private head = 0
  /** As `collect` found it last: the oldest epoch of another thread's batch, or the global one. None is older. */
  private oldest = FIRST_EPOCH
  /** The epoch of that batch; IDLE: there was none. */
  private blocking = IDLE
  private isBlocked = false

  /** `words`: `wordCount(threads)` of shared memory, zero at first. */
  constructor(
    private readonly words: Int32Array,
    thread: number,
    private readonly threads: number,
    private readonly free: (value: number) => void,
  ) {
    this.own = (1 + thread) * LINE_WORDS
    Atomics.compareExchange(words, GLOBAL, 0, FIRST_EPOCH)
    this.oldest = Atomics.load(words, GLOBAL)
  }

  static wordCount(threads: number): number {
    return (1 + threads) * LINE_WORDS
  }

  enter(): void {
    if (this.isInside) return
    this.isInside = true
    Atomics.store(this.words, this.own, Atomics.load(this.words, GLOBAL))
    // No later read overtakes this one, and this one does not overtake the store.
    Atomics.load(this.words, GLOBAL)
  }

  leave(): void {
    if (this.isInside) {
      this.isInside = false
      Atomics.store(this.words, this.own, IDLE)
    }
    if (this.head < this.queue.length) this.collect()
  }

  /** `free(value)` is called once no other thread can have read it before now. This one has, if it gives it up. */
  retire(value: number): void {
    // Unlike a load, this does not overtake the stores before it.
    this.queue.push(value, Atomics.add(this.words, GLOBAL, 0))
  }

  /** Takes these values out of those that wait, without freeing them. */
  drop(isDropped: (value: number) => boolean): void {
    const waiting = this.queue.splice(0).slice(this.head)
    this.head = 0
    for (let n = 0; n < waiting.length; n += 2)
      if (!isDropped(waiting[n])) this.queue.push(waiting[n], waiting[n + 1])
  }

  /** Number of values that wait. */
  get waiting(): number {
    return (this.queue.length - this.head) / 2
  }

  /** True if `collect` has found the same batch of another thread twice. */
  get isHeldUp(): boolean {
    return this.isBlocked
  }

  /** The epoch of the batch that holds up what waits, or 0 for none. Frees what it does not hold up. */
  blocker(): number {
    this.collect()
    return this.blocking
  }

  /** Frees what no other thread can have read. */
  collect(): void {
    const { words, threads, queue } = this
    const before = Atomics.load(words, GLOBAL)
    // Threads that enter from here on cannot have read what is in the queue.
    const goesOn = ((before - this.oldest) | 0) < MOST_BEHIND
    const now = goesOn ? (Atomics.add(words, GLOBAL, STEP) + STEP) | 0 : before
    let oldest = now
    let blocking = IDLE
    for (let n = 1; n <= threads; n++) {
      const epoch = n * LINE_WORDS === this.own ? IDLE : Atomics.load(words, n * LINE_WORDS)
      if (epoch === IDLE || !isBefore(epoch, oldest)) continue
      oldest = epoch
      blocking = epoch
    }
    this.isBlocked = blocking !== IDLE && blocking === this.blocking
    this.blocking = blocking
    this.oldest = oldest
    let { head } = this
    while (head < queue.length && isBefore(queue[head + 1], oldest)) {
      this.free(queue[head])
      head += 2
    }
    this.head = head
    if (head < queue.length && head < queue.length / 2) return
    queue.splice(0, head)
    this.head = 0
  }
}

function isBefore(epoch: number, other: number): boolean {
  return ((epoch - other) | 0) < 0
}

/** Keeps threads apart that share the tables of a share. What one thread has for itself needs none of it. */
export interface TableGuard {
  /** Waits until no other thread has the lock. May be called again by the thread that has it. */
  lock(): void
  /** Ends the last `lock`. */
  unlock(): void
}

/** For tables that one thread has for itself. */
export const unguarded: TableGuard = {
  lock() {},
  unlock() {},
}

const FREE = 0
const TAKEN = 1
/** Somebody sleeps until the lock is free. */
const AWAITED = 2
const BROKEN = 3

/** A lock is held for some hundred nanoseconds, so a few looks save most sleeps. */
const LOOKS = 100
/** A holder that was kept from its processor is asked about this often. */
const SLEEP_MS = 100

/** One lock for all tables of a share. No system call is made under it, but for opening and closing descriptors. */
export class TableLock implements TableGuard {
  private depth = 0

  /** `words[at]`: a word of shared memory, 0 at first. */
  constructor(
    private readonly words: Int32Array,
    private readonly at: number,
    /** Throws if another thread has died, which may have had the lock. */
    private readonly checkOthers: () => void = () => {},
  ) {}

  /** True if this thread has the lock. */
  get isHeld(): boolean {
    return this.depth > 0
  }

  /** Throws if a thread has failed in the middle of a change. */
  lock(): void {
    if (this.depth === 0) this.take()
    this.depth++
  }

  unlock(): void {
    if (--this.depth > 0) return
    const { words, at } = this
    // A broken lock stays so.
    if (Atomics.compareExchange(words, at, TAKEN, FREE) !== AWAITED) return
    if (Atomics.compareExchange(words, at, AWAITED, FREE) === AWAITED) Atomics.notify(words, at, 1)
  }

  /** A thread has failed: nobody can rely on the tables any more, and nobody is to wait for it. */
  break(): void {
    Atomics.store(this.words, this.at, BROKEN)
    Atomics.notify(this.words, this.at)
  }

  private take(): void {
    const { words, at } = this
    for (let n = 0; n < LOOKS; n++) if (Atomics.compareExchange(words, at, FREE, TAKEN) === FREE) return
    for (;;) {
      const before = Atomics.load(words, at)
      if (before === BROKEN) throw new Error('another thread of this share has failed')
      if (before === FREE) {
        if (Atomics.compareExchange(words, at, FREE, AWAITED) === FREE) return
      } else if (before === AWAITED || Atomics.compareExchange(words, at, TAKEN, AWAITED) === TAKEN) {
        if (Atomics.wait(words, at, AWAITED, SLEEP_MS) === 'timed-out') this.checkOthers()
      }
    }
  }
}

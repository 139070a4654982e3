import { LINE_WORDS } from './epochs.js'
import { Stripes } from './stripes.js'

const NEXT = LINE_WORDS
const HEAD = LINE_WORDS + 1
const WORDS = 2 * LINE_WORDS

/** Slots that move between a thread and the pool at a time. */
const MAGAZINE = 64

/** Free slots: some with each thread, the others linked in a pool that all share. */
export class SlotPool {
  private readonly lock: Stripes
  private readonly own = new Int32Array(2 * MAGAZINE)
  private count = 0

  /** `words`: `SlotPool.WORDS` of shared memory, zero at first. `links` has a word for each slot while it is free. */
  constructor(
    private readonly words: Int32Array,
    private readonly links: Int32Array,
    private readonly stride: number,
    private readonly first: number,
    private readonly end: number,
  ) {
    this.lock = new Stripes(words)
  }

  static readonly WORDS = WORDS

  /** Returns a free slot, or 0 if there is none. */
  take(): number {
    if (this.count === 0) this.refill()
    return this.count === 0 ? 0 : this.own[--this.count]!
  }

  give(slot: number): void {
    if (this.count === this.own.length) this.drain()
    this.own[this.count++] = slot
  }

  private refill(): void {
    const { words, links, own, stride } = this
    this.lock.lock(0)
    let slot = words[HEAD]!
    while (slot !== 0 && this.count < MAGAZINE) {
      own[this.count++] = slot
      slot = links[slot * stride]!
    }
    words[HEAD] = slot
    while (this.count < MAGAZINE && this.first + words[NEXT]! < this.end)
      own[this.count++] = this.first + words[NEXT]!++
    this.lock.unlock(0)
  }

  private drain(): void {
    const { words, links, own, stride } = this
    this.lock.lock(0)
    for (let n = 0; n < MAGAZINE; n++) {
      const slot = own[--this.count]!
      links[slot * stride] = words[HEAD]!
      words[HEAD] = slot
    }
    this.lock.unlock(0)
  }
}

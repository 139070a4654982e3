import { Counters } from './counters.js'

/** The counters of a share's threads, one block each, seen from a thread that reads them. */
export class CounterBlocks {
  readonly blocks: readonly Counters[]

  constructor(threads: number) {
    this.blocks = Array.from({ length: threads }, () => new Counters())
  }

  /** The memory of each thread's block. */
  get memory(): readonly SharedArrayBuffer[] {
    return this.blocks.map(({ memory }) => memory)
  }

  /** True while latencies are counted. */
  get isTimed(): boolean {
    return this.blocks[0].isTimed
  }

  set isTimed(on: boolean) {
    for (const block of this.blocks) block.isTimed = on
  }

  /** Returns what all threads have counted until now. */
  get sum(): Counters {
    const [first, ...others] = this.blocks
    if (others.length === 0) return first
    const sum = new Counters()
    for (const block of this.blocks) sum.add(block)
    return sum
  }
}

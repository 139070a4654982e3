import { Session } from 'node:inspector'

interface Range {
  readonly startOffset: number
  readonly endOffset: number
  readonly count: number
}

interface FunctionCoverage {
  readonly ranges: readonly Range[]
}

interface ScriptCoverage {
  readonly url: string
  readonly functions: readonly FunctionCoverage[]
}

/** A block of a function, and the orders of magnitude of how often it ran. */
interface Block {
  readonly start: number
  readonly end: number
  seen: number
}

/**
 * Which blocks of the compiled sources an input ran, by V8's own counters. A function's blocks become known as they are
 * seen to run differently often from what encloses them.
 */
export class Coverage {
  /** Blocks that have run. */
  blockCount = 0
  private readonly session = new Session()
  private readonly functions = new Map<string, Block[]>()

  /** Scripts are included if their address contains `part`. */
  constructor(private readonly part: string) {
    this.session.connect()
  }

  start(): void {
    this.session.post('Profiler.enable')
    this.session.post('Profiler.startPreciseCoverage', { detailed: true, callCount: true })
  }

  /** Switches the counters off: code runs at full speed again. */
  stop(): void {
    this.session.post('Profiler.stopPreciseCoverage')
    this.session.post('Profiler.disable')
  }

  /** Forgets what has run, but not which blocks there are. */
  forget(): void {
    this.blockCount = 0
    for (const blocks of this.functions.values()) for (const block of blocks) block.seen = 0
  }

  /**
   * Returns what has run since the last call: blocks that ran for the first time, and blocks that ran in a new order of
   * magnitude.
   */
  take(): { newBlocks: number; newCounts: number } {
    const found = { newBlocks: 0, newCounts: 0 }
    this.session.post('Profiler.takePreciseCoverage', (_error, answer) => {
      for (const script of answer?.result ?? []) if (script.url.includes(this.part)) this.look(script, found)
    })
    this.blockCount += found.newBlocks
    return found
  }

  private look({ url, functions }: ScriptCoverage, found: { newBlocks: number; newCounts: number }): void {
    for (const { ranges } of functions) {
      const [whole] = ranges
      if (whole === undefined || whole.count === 0) continue
      const key = `${url}:${whole.startOffset}:${whole.endOffset}`
      let blocks = this.functions.get(key)
      if (blocks === undefined) {
        blocks = []
        this.functions.set(key, blocks)
      }
      for (const range of ranges) addBlock(blocks, range)
      for (const block of blocks) {
        const magnitude = magnitudeOf(countOf(block, ranges))
        if (magnitude === 0 || (block.seen & magnitude) !== 0) continue
        if (block.seen === 0) found.newBlocks++
        else found.newCounts++
        block.seen |= magnitude
      }
    }
  }
}

function addBlock(blocks: Block[], { startOffset: start, endOffset: end }: Range): void {
  if (!blocks.some((block) => block.start === start && block.end === end))
    blocks.push({ start, end, seen: 0 })
}

/** A block that is not reported ran as often as the innermost one around it, which is the last in this list. */
function countOf(block: Block, ranges: readonly Range[]): number {
  let count = 0
  for (const range of ranges)
    if (range.startOffset <= block.start && range.endOffset >= block.end) count = range.count
  return count
}

/** A bit for 1, 2, 3, 4 to 7, 8 to 15, 16 to 127, and more; 0 for none. */
function magnitudeOf(count: number): number {
  if (count < 4) return count === 0 ? 0 : 1 << (count - 1)
  return count < 8 ? 8 : count < 16 ? 16 : count < 128 ? 32 : 64
}

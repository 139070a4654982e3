import { Random } from '../support/random.js'
import type { Coverage } from './coverage.js'
import { mutate, randomInput } from './input.js'
import type { Target } from './target.js'

/** The settings of a campaign, and its callbacks. */
export interface CampaignOptions {
  readonly seed: number
  /** The campaign ends after the input that reaches this number. */
  readonly messages: number
  /** Coverage chooses the inputs to change during this many messages. */
  readonly guidedMessages: number
  readonly coverage: Coverage
  readonly corpus: readonly Uint8Array[]
  /** Called with each input before it runs, so that the input is known if the process ends. */
  about(input: Uint8Array): void
  progress(done: CampaignResult): void
}

export interface CampaignResult {
  readonly inputs: number
  readonly messages: number
  /** Blocks of the source that have run, and inputs that ran something new, while coverage was on. */
  readonly blocks: number
  readonly pool: number
}

const PROGRESS_EVERY_MS = 1000
/** One input in this many is wholly random. */
const FRESH = 8

/**
 * Runs inputs against a target: those of the corpus, then children of inputs that ran something new. `finds` are those
 * that ran a block for the first time.
 */
export function runCampaign(
  target: Target,
  options: CampaignOptions,
): { result: CampaignResult; finds: readonly Uint8Array[] } {
  const { seed, messages, guidedMessages, coverage } = options
  const random = new Random(seed)
  const pool: Uint8Array[] = []
  const finds: Uint8Array[] = []
  let done: CampaignResult = { inputs: 0, messages: 0, blocks: 0, pool: 0 }
  let guided = guidedMessages > 0
  if (guided) coverage.start()
  let toldMs = performance.now()

  const run = (input: Uint8Array) => {
    options.about(input)
    const more = target.run(input)
    if (guided) {
      const seen = coverage.take()
      if (seen.newBlocks + seen.newCounts > 0) pool.push(input)
      if (seen.newBlocks > 0) finds.push(input)
      guided = done.messages + more < guidedMessages
      if (!guided) coverage.stop()
    }
    done = {
      inputs: done.inputs + 1,
      messages: done.messages + more,
      blocks: coverage.blockCount,
      pool: pool.length,
    }
    const nowMs = performance.now()
    if (nowMs - toldMs < PROGRESS_EVERY_MS) return
    toldMs = nowMs
    options.progress(done)
  }

  for (const input of options.corpus) run(input)
  if (pool.length === 0) pool.push(...options.corpus)
  while (done.messages < messages) {
    const fresh = pool.length === 0 || random.below(FRESH) === 0
    run(fresh ? randomInput(random) : mutate(random, random.pick(pool), random.pick(pool)))
  }
  return { result: done, finds }
}

/**
 * Returns few of `inputs` that together run every block that all of them run. The longest come first, because they
 * cover most.
 */
export function minimize(
  target: Target,
  inputs: readonly Uint8Array[],
  coverage: Coverage,
): readonly Uint8Array[] {
  const runsNew = (input: Uint8Array) => {
    target.run(input)
    return coverage.take().newBlocks > 0
  }
  coverage.start()
  // The first run shows which blocks there are.
  inputs.forEach(runsNew)
  coverage.forget()
  const kept = inputs.toSorted((a, b) => b.length - a.length).filter(runsNew)
  coverage.stop()
  return kept
}

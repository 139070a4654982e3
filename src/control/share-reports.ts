import type { CountsReport, LatencyCounts } from 'virtio-fs-ts/protocol'
import type { ShareFigures } from '../share/share-figures.js'
import type { ShareThread } from '../share/share-thread.js'
import type { PacedAsking } from './paced-asking.js'

/** A share's thread may wait for the host's file system; then its own figures are missing. */
const PATIENCE_MS = 1000

/** Everything that is counted of a share. */
export interface ReportedShare {
  readonly name: string
  readonly directory: string
  readonly state: 'answers' | 'busy' | 'ended'
  readonly counts: CountsReport
  readonly bytes: { readonly read: number; readonly written: number; readonly copied: number }
  readonly latencies: readonly LatencyCounts[]
  /** Undefined if the thread does not answer. */
  readonly figures: ShareFigures | undefined
}

/** Reports a share: what is counted in shared memory at once, the rest within a second. */
export async function reportShare(
  { name, directory }: { readonly name: string; readonly directory: string },
  thread: ShareThread,
  asking: PacedAsking,
): Promise<ReportedShare> {
  const answer = await Promise.race([figuresOf(asking), later()])
  const { counters } = thread
  return {
    name,
    directory,
    state: thread.hasEnded ? 'ended' : answer === undefined ? 'busy' : 'answers',
    counts: counters.report(),
    bytes: { read: counters.readBytes, written: counters.writtenBytes, copied: counters.copiedBytes },
    latencies: counters.latencyReport(),
    figures: answer,
  }
}

async function figuresOf(asking: PacedAsking): Promise<ShareFigures | undefined> {
  try {
    // The share's command of this name answers with them.
    return (await asking.ask('figures', undefined, true)) as ShareFigures
  } catch {
    return undefined
  }
}

function later(): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), PATIENCE_MS).unref())
}

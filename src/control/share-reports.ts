import type { CountsReport, LatencyCounts } from 'virtio-fs-ts/protocol'
import { inTime } from '../basics/in-time.js'
import type { ShareClient } from '../share/share-client.js'
import type { ShareFigures } from '../share/share-figures.js'
import type { PacedAsking } from './paced-asking.js'

/** A share's thread may wait for the host's file system; then its own figures are missing. */
const PATIENCE_MS = 1000

/** Everything that is counted of a share. */
export interface ReportedShare {
  readonly name: string
  readonly directory: string
  /** A share that has failed is gone; what it did until then is still counted. */
  readonly state: 'answers' | 'busy' | 'failed'
  readonly counts: CountsReport
  readonly bytes: { readonly read: number; readonly written: number; readonly copied: number }
  readonly latencies: readonly LatencyCounts[]
  /** Undefined if the thread does not answer, or is gone. */
  readonly figures: ShareFigures | undefined
}

/** Reports a share: what is counted in shared memory at once, the rest within a second. */
export async function reportShare(share: Served, asking: PacedAsking): Promise<ReportedShare> {
  const figures = await inTime(figuresOf(asking), PATIENCE_MS)
  return reportCounts(share, figures === undefined ? 'busy' : 'answers', figures)
}

/** Reports a share whose thread has failed. */
export function reportFailed(share: Served): ReportedShare {
  return reportCounts(share, 'failed', undefined)
}

interface Served {
  readonly name: string
  readonly directory: string
  readonly client: Pick<ShareClient, 'counters'>
}

function reportCounts(
  { name, directory, client }: Served,
  state: ReportedShare['state'],
  figures: ShareFigures | undefined,
): ReportedShare {
  const counters = client.counters.sum
  return {
    name,
    directory,
    state,
    counts: counters.report(),
    bytes: { read: counters.readBytes, written: counters.writtenBytes, copied: counters.copiedBytes },
    latencies: counters.latencyReport(),
    figures,
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

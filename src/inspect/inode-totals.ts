import type { InodeReport } from './inode-activity.js'

/** The guest's activity on all inodes of a share together. The highest overlap is that of a single inode. */
export interface TotalsReport extends Omit<InodeReport, 'path' | 'nodeid'> {
  readonly inodes: number
}

export function totalOf(inodes: readonly InodeReport[]): TotalsReport {
  const sum = (count: (inode: InodeReport) => number) =>
    inodes.reduce((total, inode) => total + count(inode), 0)
  return {
    inodes: inodes.length,
    reads: sum(({ reads }) => reads),
    cachedWrites: sum(({ cachedWrites }) => cachedWrites),
    directWrites: sum(({ directWrites }) => directWrites),
    writesInFlight: sum(({ writesInFlight }) => writesInFlight),
    highestOverlap: inodes.reduce((highest, inode) => Math.max(highest, inode.highestOverlap), 0),
    overlappedWrites: sum(({ overlappedWrites }) => overlappedWrites),
    openNow: sum(({ openNow }) => openNow),
    opens: merged(inodes.map(({ opens }) => opens)),
    loneWrites: merged(inodes.map(({ loneWrites }) => loneWrites)),
  }
}

function merged(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {}
  for (const [name, count] of counts.flatMap((one) => Object.entries(one)))
    total[name] = (total[name] ?? 0) + count
  return total
}

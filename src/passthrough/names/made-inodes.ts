import { ESTALE, type Request, Statx, type StatxWords } from 'virtio-fs-ts/protocol'
import type { InodeFinder } from '../inodes/inode-finder.js'
import type { InodeTable } from '../inodes/inode-table.js'
import type { Caller } from '../owners/caller.js'
import type { SecurityLabels } from '../xattrs/security-labels.js'

/** The parts of the share that this uses. */
interface Share {
  readonly inodes: InodeTable
  readonly finder: InodeFinder
  readonly caller: Caller
  readonly labels: SecurityLabels
}

/**
 * Looks up a directory, link or special file that `request` has just made as its first name in `parent`. Making one yields
 * no descriptor, so a process of the host can replace the name before the lookup. Returns the slot, with one lookup counted
 * and `st` filled, or a negative errno: ESTALE for somebody else's inode, on which Linux tries again.
 */
export function findMade(
  share: Share,
  request: Request,
  parent: number,
  type: number,
  st: StatxWords,
): number {
  const slot = share.finder.lookup(parent, request.argBytes, request.nameAt, st)
  if (slot < 0 || isMade(share, request, slot, type, st)) return slot
  share.inodes.unref(slot, 1)
  return -ESTALE
}

/**
 * Returns false for an inode that cannot be the one that was made. Only labels change an inode before its maker has seen it,
 * so the owner counts for them alone: some file systems of the host choose it themselves.
 */
function isMade(
  { inodes, labels, caller }: Share,
  request: Request,
  slot: number,
  type: number,
  st: StatxWords,
): boolean {
  const isNew = inodes.typeOf(slot) === type && inodes.lookupsOf(slot) === 1
  return isNew && (!labels.areTaken || Statx.uid(st) === caller.ownerFor(request))
}

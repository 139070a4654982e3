/** A file that the guest changes, has open or has removed: what it is known to occupy. */
export class CountedInode {
  /** Bytes of its blocks when it was last measured; -1: never. */
  bytes = -1
  /** The open files of it, until nothing in the background changes them any more. */
  readonly files = new Set<{ readonly fd: number }>()
  /** Its slot while the guest knows it by a node id, or 0. */
  slot = 0
  /** It has no name any more: it is given back when the guest lets go of it. */
  isOrphan = false
  /** What it may have grown by since it was measured. */
  growthBytes = 0

  constructor(readonly identity: string) {}
}

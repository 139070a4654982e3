/** The known use of a file that the guest changes, has open or has removed. */
export class CountedInode {
  /** Bytes of its blocks when it was last measured; -1: never. */
  bytes = -1
  /** Its open files, each until nothing in the background changes it any more. */
  readonly files = new Set<{ readonly fd: number }>()
  /** Its slot while the guest knows it by a node id, or 0. */
  slot = 0
  /** It has no name any more: its room becomes free when the guest forgets and closes it. */
  isOrphan = false
  /** The most by which it may have grown since it was measured. */
  growthBytes = 0

  constructor(readonly identity: string) {}
}

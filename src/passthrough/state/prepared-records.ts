import { blankInode, type InodeEncoder, PATH_MAX_BYTES, RECORD_MAX_BYTES } from '../../state/inode-records.js'
import type { Records } from '../../state/sections.js'
import type { InodeTable } from '../inodes/inode-table.js'
import type { InodePlaces } from './inode-places.js'
import { Entry, type PreparedNames } from './prepared-names.js'
import type { SlotSet } from './slot-set.js'

const SLASH = 0x2f
/** Inodes written before everything else has its turn. */
const INODES_PER_PIECE = 64
const PIECE_BYTES = 16 * 1024

/** The parts of the share that are read. */
interface Share {
  readonly prepared: PreparedNames
  readonly inodes: InodeTable
}

/** The state that is written. */
interface Writing {
  readonly places: InodePlaces
  readonly encoder: InodeEncoder
  /** Inodes that have their record. */
  readonly written: SlotSet
  /** Directories without names of other inodes, which the guest could have looked up since. */
  readonly done: Set<number>
}

/**
 * Writes the inodes in directories that have not changed since they were read, and notes both. Several records come as one:
 * this is most of the work while the guest stands still.
 */
export function* preparedRecords(
  { prepared, inodes }: Share,
  { places, encoder, written, done }: Writing,
): Records {
  const record = blankInode()
  const piece = new Uint8Array(PIECE_BYTES + RECORD_MAX_BYTES)
  const view = new DataView(piece.buffer)
  const path = new Uint8Array(PATH_MAX_BYTES)
  let filled = 0
  let count = 0
  for (const directory of prepared.unchanged((slot, fd) => places.pathOf(slot, fd, true))) {
    const { slot: directorySlot, path: parent, entries, hasStrangers } = directory
    if (!hasStrangers) done.add(directorySlot)
    const prefixBytes = parent.length === 0 ? 0 : parent.length + 1
    path.set(parent)
    if (prefixBytes > 0) path[parent.length] = SLASH
    for (let at = 0; at < entries.length; at = Entry.endAt(entries, at)) {
      const slot = Entry.slot(entries, at)
      const nameBytes = Entry.nameBytes(entries, at)
      const pathBytes = prefixBytes + nameBytes
      // A hard link shows more than once.
      if (!inodes.isKnown(slot) || written.has(slot) || pathBytes >= PATH_MAX_BYTES) continue
      inodes.identify(slot, record)
      record.handle = inodes.fds.handleOf(slot)
      if (record.generation !== Entry.generation(entries, at) || record.handle === undefined) continue
      record.isOpen = inodes.fds.isPinned(slot)
      const nameAt = Entry.nameAt(at)
      for (let n = 0; n < nameBytes; n++) path[prefixBytes + n] = entries[nameAt + n]
      written.add(slot)
      filled += encoder.write(view, filled, record, path, pathBytes)
      if (++count % INODES_PER_PIECE !== 0 && filled < PIECE_BYTES) continue
      yield piece.subarray(0, filled)
      yield undefined
      filled = 0
    }
  }
  if (filled > 0) yield piece.subarray(0, filled)
}

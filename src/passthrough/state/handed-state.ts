import { generationOfId, slotOfId } from 'virtio-fs-ts/protocol'
import {
  CARRIERS,
  type Carrier,
  CarrierRecords,
  DIRECTORIES,
  FILES,
  FREE_DIRECTORIES,
  FREE_FILES,
  LOCKS,
} from '../../state/handle-records.js'
import { blankInode, FREE_INODES, INODES, InodeEncoder } from '../../state/inode-records.js'
import { PLACES, PlaceRecords } from '../../state/place-records.js'
import { type Records, recordSection, textSection } from '../../state/sections.js'
import type { Handles } from '../files/handles.js'
import type { OpenDirectory } from '../files/open-directory.js'
import { NO_FD, type OpenFile } from '../files/open-file.js'
import type { InodeTable } from '../inodes/inode-table.js'
import type { LockOperations } from '../locks/locks.js'
import type { QuotaOperations } from '../quota/quota-operations.js'
import { directoryRecords, fileRecords, freeRecords, handlesOf, lockRecords } from './saved-state.js'

/**
 * Section HDEV: the numbers of the host's file systems, by what statx says of them, and those for which a descriptor comes
 * that opens file handles; the number of inodes, and the file systems whose handles are not trusted, which versions before
 * did not say.
 */
export const HANDED_DEVICES = { tag: 'HDEV', version: 1, isRequired: true } as const

/**
 * Section QUOT: what is counted against the quota, and files without a name: once more for each further thousand. A share
 * without a quota skips it.
 */
export const HANDED_QUOTA = { tag: 'QUOT', version: 1, isRequired: false } as const

/** Yields the sections of what is counted; none without a quota. */
export function* quotaSections(quota: QuotaOperations | undefined): Generator<Iterable<Uint8Array>> {
  if (quota === undefined) return
  for (const counts of quota.handed()) yield textSection(HANDED_QUOTA, counts)
}

/** The parts of the share that another process goes on with. */
interface Share {
  readonly inodes: InodeTable
  readonly files: Handles<OpenFile>
  readonly directories: Handles<OpenDirectory>
  readonly locks: LockOperations
}

/**
 * Yields the sections of a share's inodes, handles and locks for another process of this host, which gets the descriptors:
 * `pass` is called with each, in the order of the records. The share keeps them.
 */
export class HandedState {
  private readonly encoder = new InodeEncoder()
  private readonly record = blankInode()

  constructor(
    private readonly share: Share,
    private readonly pass: (fd: number) => void,
  ) {}

  *sections(): Generator<Iterable<Uint8Array>> {
    const { pass } = this
    const { inodes, files, directories, locks } = this.share
    const { mounts } = inodes.fds
    for (const fd of mounts.values()) pass(fd)
    yield textSection(HANDED_DEVICES, {
      devices: [...inodes.knownDevices],
      mounts: [...mounts.keys()],
      inodes: inodes.count,
      deadHandles: inodes.fds.devicesWithDeadHandles,
    })
    yield recordSection(INODES, this.inodes())
    yield recordSection(PLACES, this.places())
    yield recordSection(FREE_INODES, freeRecords(inodes.freeSlots()))
    const withFile = ({ fd, directFd }: OpenFile) => {
      pass(fd)
      if (directFd !== NO_FD) pass(directFd)
    }
    yield recordSection(FILES, fileRecords(files, withFile))
    yield recordSection(FREE_FILES, freeRecords(files.freeSlots()))
    yield recordSection(
      DIRECTORIES,
      directoryRecords(directories, ({ fd }) => pass(fd)),
    )
    yield recordSection(FREE_DIRECTORIES, freeRecords(directories.freeSlots()))
    yield recordSection(CARRIERS, this.carriers())
    yield recordSection(LOCKS, lockRecords(files, locks))
  }

  private *inodes(): Records {
    const { inodes } = this.share
    const { record } = this
    for (const slot of inodes.known()) {
      inodes.identify(slot, record)
      record.isDisowned = inodes.isDisowned(slot)
      record.hasFd = inodes.fds.isOpen(slot)
      record.handle = record.hasFd ? undefined : inodes.fds.keptHandle(slot)
      record.isLost = !record.hasFd && record.handle === undefined
      if (record.hasFd) this.pass(inodes.fds.openFd(slot))
      yield this.encoder.encode(record)
    }
  }

  private *places(): Records {
    const { inodes } = this.share
    for (const [slot, place] of inodes.fds.places.entries())
      if (inodes.isKnown(slot)) yield PlaceRecords.encode({ slot, ...place })
  }

  private *carriers(): Records {
    const handles = handlesOf(this.share.files)
    const carrierOf = (file: OpenFile): Carrier => {
      const handle = handles.get(file)
      if (handle !== undefined) return { slot: slotOfId(handle), generation: generationOfId(handle) }
      this.pass(file.fd)
      return { slot: 0, generation: 0 }
    }
    for (const { nodeid, reader, writer } of this.share.locks.carriers()) {
      const isOne = reader === writer
      const first = reader && carrierOf(reader)
      yield CarrierRecords.encode({
        inodeSlot: slotOfId(nodeid),
        inodeGeneration: generationOfId(nodeid),
        reader: first,
        isOne,
        writer: isOne ? first : writer && carrierOf(writer),
      })
    }
  }
}

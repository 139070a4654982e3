import { Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { FdBudget } from '../inodes/fd-budget.js'
import { openBelow } from '../inodes/open-below.js'
import { STATX_MASK } from '../inodes/statx.js'
import type { NameOpener } from '../names/name-opener.js'

const { O_DIRECTORY, O_PATH } = native.constants

const SLASH = 0x2f
const DOT = 0x2e
const NAME_MAX_BYTES = 255
const NONE = -1

/** A path as a directory and a name in it. */
export interface Place {
  parentFd: number
  /** Attributes of the directory. */
  parentSt: Int32Array
  /** One component and a NUL. */
  readonly name: Uint8Array
}

/** Opens the directories of paths below the shared directory. Neighbours share one: the last stays open. */
export class ParentDirectories {
  private fd = NONE
  private path: Uint8Array = new Uint8Array(0)
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly rootSt = new Int32Array(Statx.WORDS)
  private readonly place: Place = {
    parentFd: NONE,
    parentSt: this.st,
    name: new Uint8Array(NAME_MAX_BYTES + 1),
  }

  constructor(
    private readonly rootFd: number,
    private readonly opener: NameOpener,
    private readonly budget: FdBudget,
  ) {
    native.fstatx(rootFd, STATX_MASK, this.rootSt)
  }

  /**
   * Returns the place of a path, valid until the next call. Undefined if its directory cannot be opened or its last component
   * is no name.
   */
  placeOf(path: Uint8Array): Place | undefined {
    const nameAt = path.lastIndexOf(SLASH) + 1
    const nameBytes = path.length - nameAt
    const { place } = this
    const { name } = place
    if (nameBytes > NAME_MAX_BYTES) return undefined
    for (let n = 0; n < nameBytes; n++) name[n] = path[nameAt + n]
    name[nameBytes] = 0
    const isDots = name[0] === 0 || (name[0] === DOT && (name[1] === 0 || (name[1] === DOT && name[2] === 0)))
    if (isDots) return undefined
    place.parentFd = nameAt === 0 ? this.rootFd : this.open(path, nameAt - 1)
    place.parentSt = nameAt === 0 ? this.rootSt : this.st
    return place.parentFd < 0 ? undefined : place
  }

  close(): void {
    if (this.fd === NONE) return
    native.close(this.fd)
    this.budget.give()
    this.fd = NONE
  }

  /** Opens the directory whose path is the first bytes of this one. */
  private open(path: Uint8Array, lenBytes: number): number {
    if (this.fd !== NONE && this.isLast(path, lenBytes)) return this.fd
    this.close()
    if (this.budget.left === 0) return NONE
    this.path = path.slice(0, lenBytes)
    const fd = openBelow(this.rootFd, this.opener, this.path, O_PATH | O_DIRECTORY)
    if (fd < 0) return fd
    this.budget.take()
    this.fd = fd
    native.fstatx(fd, STATX_MASK, this.st)
    return fd
  }

  private isLast(path: Uint8Array, lenBytes: number): boolean {
    if (this.path.length !== lenBytes) return false
    for (let n = 0; n < lenBytes; n++) if (path[n] !== this.path[n]) return false
    return true
  }
}

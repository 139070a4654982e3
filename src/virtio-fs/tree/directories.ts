import { EBADF, EINVAL, ENFILE, ENOENT, ENOTDIR } from '../errno.js'
import { ARGS, MAX_REPLY_BYTES, type ReplyPlace, type Request } from '../request.js'
import { ReadIn } from '../wire/data.js'
import { Dirent } from '../wire/dirent.js'
import { EntryOut } from '../wire/entry.js'
import { OpenIn, OpenOut } from '../wire/open.js'
import { listed, typeNumber, wrong } from './attributes.js'
import { andThen, type Call, isPromise, named } from './calls.js'
import type { Found } from './found-nodes.js'
import { errnoOfError } from './method-error.js'
import { childOf } from './names.js'
import type { Awaitable, DirectoryEntry, Opened, OrNothing } from './node.js'
import type { KnownNode } from './node-table.js'
import { MAX_OPENS, nodeOf, type OpenNode, type TreeParts } from './parts.js'
import { fopenFlags } from './policy.js'

const NAME_MAX_BYTES = 255
/** The guest's kernel shows this for an unknown inode number. */
const UNKNOWN_INO = 0xffff_ffff
const DIRECTORY = 0o04

/** "." and "..". The guest expects them and resolves them itself. */
const dots: readonly DirectoryEntry[] = [
  { name: '.', type: 'directory' },
  { name: '..', type: 'directory' },
]

/** Reads directories. A position is the index of an entry in the listing of its handle. */
export class TreeDirectories {
  private readonly bytes = new Uint8Array(MAX_REPLY_BYTES)
  private readonly view = new DataView(this.bytes.buffer)
  private readonly words = new Int32Array(this.bytes.buffer)

  constructor(private readonly on: TreeParts) {}

  opendir(request: Request): number {
    const { calls, opens, policy } = this.on
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    if (known.type !== 0 && known.type !== DIRECTORY) return -ENOTDIR
    if (opens.count >= MAX_OPENS) return -ENFILE
    const flags = OpenIn.flags(request.args, ARGS)
    return calls.run<OrNothing<Opened>>(
      request,
      'open',
      undefined,
      (call) => known.node.open?.(flags, call),
      (said, to) => {
        const opened = said ?? undefined
        const openFlags = fopenFlags(policy.base.directoryFlags, opened)
        const handle = opens.add({ known, handle: opened?.handle, openFlags, listing: undefined })
        OpenOut.write(to.reply, 0, handle, openFlags)
        return OpenOut.BYTES
      },
      (said) => calls.release(known.node, said),
    )
  }

  readdir(request: Request): number {
    return this.list(request, false)
  }

  readdirplus(request: Request): number {
    return this.list(request, true)
  }

  private list(request: Request, withChildren: boolean): number {
    const { calls, opens, found } = this.on
    const open = opens.get(ReadIn.handle(request.args, ARGS))
    if (open === undefined) return -EBADF
    const at = ReadIn.offsetBytes(request.args, ARGS)
    // No listing is that long.
    if (at < 0) return request.replyInPlace(0)
    const roomBytes = roomOf(request)
    return calls.run(
      request,
      'readdir',
      open.handle,
      (call) =>
        andThen(this.listingOf(open, at, call), (listing) => {
          const nodes = withChildren ? this.childrenOf(open.known, listing, at, roomBytes, call) : undefined
          return andThen(nodes, (children) => ({ listing, children }))
        }),
      ({ listing, children }, to) => this.reply(to, open.known, listing, at, roomBytes, children),
      ({ children = [] }) => {
        for (const child of children) if (child !== undefined) found.drop(child)
      },
    )
  }

  /** The listing of a handle. It is read again when the guest starts at its beginning. */
  private listingOf(open: OpenNode, at: number, call: Call): Awaitable<readonly DirectoryEntry[]> {
    if (at !== 0 && open.listing !== undefined) return open.listing
    const { node } = open.known
    if (node.readdir === undefined) throw Object.assign(new Error('no directory'), { code: 'ENOTDIR' })
    return andThen(node.readdir(call), (entries) => {
      const listing = [...dots]
      for (const entry of listed(entries)) listing.push(checkedEntry(entry))
      this.on.listings.keep(open, listing)
      return listing
    })
  }

  /** The nodes of the names that fit into a reply. Undefined for a name that is gone, or of which only the name is known. */
  private childrenOf(
    parent: KnownNode,
    listing: readonly DirectoryEntry[],
    at: number,
    roomBytes: number,
    call: Call,
  ): Awaitable<(Found | undefined)[]> {
    const found: Awaitable<Found | undefined>[] = []
    let filled = 0
    let waits = false
    for (let n = at; n < listing.length; n++) {
      const entry = listing[n] as DirectoryEntry
      filled += EntryOut.BYTES + Dirent.paddedBytes(Buffer.byteLength(entry.name))
      if (filled > roomBytes) break
      const child = n < dots.length ? undefined : this.childOf(parent, entry, call)
      waits ||= isPromise(child)
      found.push(child)
    }
    return waits ? Promise.all(found) : (found as (Found | undefined)[])
  }

  /** Looks a child up. A failure must not hide the other entries. */
  private childOf(parent: KnownNode, entry: DirectoryEntry, call: Call): Awaitable<Found | undefined> {
    const missed = (error: unknown) => {
      if (errnoOfError((error as Error).cause ?? error) !== ENOENT)
        this.on.calls.failed('lookup', error, { nodeid: parent.id, name: entry.name })
      return undefined
    }
    try {
      const child = named('lookup', () => entry.node ?? childOf(parent.node, entry.name, call))
      const found = andThen(child, (node) =>
        node === undefined ? undefined : this.on.found.find('lookup', node, call),
      )
      return isPromise(found) ? found.then(undefined, missed) : found
    } catch (error) {
      return missed(error)
    }
  }

  /** Builds the entries that fit. `found` is for READDIRPLUS. */
  private reply(
    to: ReplyPlace,
    parent: KnownNode,
    listing: readonly DirectoryEntry[],
    at: number,
    roomBytes: number,
    found: readonly (Found | undefined)[] | undefined,
  ): number {
    const headBytes = found === undefined ? 0 : EntryOut.BYTES
    let filled = 0
    for (let n = at; n < listing.length; n++) {
      const entry = listing[n] as DirectoryEntry
      const name = Buffer.from(entry.name)
      const end = filled + headBytes + Dirent.paddedBytes(name.length)
      if (end > roomBytes) {
        if (filled === 0) return -EINVAL
        break
      }
      const child = found?.[n - at]
      if (found !== undefined) this.writeHead(filled, child, parent, entry)
      this.writeDirent(filled + headBytes, parent, entry, child, n, name)
      filled = end
    }
    return to.replyData(this.bytes.subarray(0, filled)) ? to.replyInPlace(filled) : -EINVAL
  }

  private writeHead(at: number, child: Found | undefined, parent: KnownNode, entry: DirectoryEntry): void {
    const { replies, calls, found } = this.on
    try {
      if (child !== undefined) {
        replies.writeEntry(this.words, at >> 2, child, parent, entry.name)
        return
      }
    } catch (error) {
      calls.failed('lookup', error, { nodeid: parent.id, name: entry.name })
      if (child !== undefined) found.drop(child)
    }
    EntryOut.writeNothing(this.words, at >> 2, 0)
  }

  private writeDirent(
    at: number,
    parent: KnownNode,
    entry: DirectoryEntry,
    child: Found | undefined,
    n: number,
    name: Uint8Array,
  ): void {
    const node = child?.node ?? entry.node
    const known = n === 0 ? parent : node && this.on.nodes.known(node)
    const ino = known?.ino ?? (node === undefined ? UNKNOWN_INO : this.on.nodes.numbers.of(node))
    const type = (known?.type ?? 0) || typeNumber(entry.type)
    Dirent.writeHead(this.view, at, ino, Math.floor(ino / 0x1_0000_0000), n + 1, 0, type, name.length)
    Dirent.writeName(this.bytes, at, name)
  }
}

function roomOf(request: Request): number {
  return Math.min(ReadIn.sizeBytes(request.args, ARGS), request.replyRoomBytes, MAX_REPLY_BYTES)
}

/** Throws TypeError for an invalid name. */
function checkedEntry(said: string | DirectoryEntry): DirectoryEntry {
  const entry = typeof said === 'string' ? { name: said } : said
  if (typeof entry !== 'object' || entry === null) wrong('an entry', said, 'a name or an object')
  const { name } = entry
  if (typeof name !== 'string') wrong("an entry's name", name, 'a string')
  if (name === '' || name === '.' || name === '..' || name.includes('/') || name.includes('\0'))
    wrong("an entry's name", name, 'one component of a path')
  if (Buffer.byteLength(name) > NAME_MAX_BYTES) wrong("an entry's name", name, 'at most 255 bytes long')
  typeNumber(entry.type)
  return entry
}

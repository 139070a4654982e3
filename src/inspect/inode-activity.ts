import {
  FOPEN_DIRECT_IO,
  FOPEN_PARALLEL_DIRECT_WRITES,
  FUSE_WRITE_CACHE,
  type Introspection,
  Opcode,
  OpenFlag,
} from 'virtio-fs-ts/protocol'
import { BEHIND_ENTRY, BEHIND_HEADER, OpenReply, u64At } from './open-reply.js'
import type { WatchedRequest } from './watched-request.js'

const { O_APPEND } = OpenFlag

/** The most inodes to keep track of; beyond this, the oldest known ones are dropped. */
const MAX_INODES = 100_000

/** The probable reason why a WRITE under parallel-dio came alone. */
export type LoneReason =
  | 'write-back'
  | 'append'
  | 'extends the file'
  | 'cached open'
  | 'shared mmap'
  | 'no other writer seen'

/** The guest's activity on one inode, as far as the device can see it. */
export interface InodeReport {
  readonly path: string | undefined
  readonly nodeid: number
  readonly reads: number
  /** Writes by the guest's page cache (FUSE_WRITE_CACHE), and all others. */
  readonly cachedWrites: number
  readonly directWrites: number
  readonly writesInFlight: number
  /** The most WRITEs in flight at once, each from its arrival on the ring to its completion. */
  readonly highestOverlap: number
  /** WRITEs that overlapped with another WRITE. */
  readonly overlappedWrites: number
  /** Opens, counted by the FOPEN flags in the reply. */
  readonly opens: Readonly<Record<string, number>>
  readonly openNow: number
  /** WRITEs under parallel-dio that came alone, by probable reason. */
  readonly loneWrites: Readonly<Partial<Record<LoneReason, number>>>
}

interface OpenState {
  readonly activity: Activity
  readonly openFlags: number
}

class Activity {
  reads = 0
  cachedWrites = 0
  directWrites = 0
  highestOverlap = 0
  overlappedWrites = 0
  openNow = 0
  cachedOpenNow = 0
  /** True if a write-back came while every open was direct: the file is, or was, mapped shared. */
  mapped = false
  readonly writing = new Set<WatchedRequest>()
  readonly opens = new Map<number, number>()
  readonly lone = new Map<LoneReason, number>()

  constructor(
    readonly nodeid: number,
    public path: string | undefined,
  ) {}
}

const flagNames = [
  'DIRECT_IO',
  'KEEP_CACHE',
  'NONSEEKABLE',
  'CACHE_DIR',
  'STREAM',
  'NOFLUSH',
  'PARALLEL_DIRECT_WRITES',
]

/** Formats FOPEN flags by name: "DIRECT_IO|PARALLEL_DIRECT_WRITES", or "none". */
export function openFlagNames(flags: number): string {
  return flagNames.filter((_, bit) => (flags & (1 << bit)) !== 0).join('|') || 'none'
}

/**
 * Tracks for each inode the requests in flight and how the guest's kernel uses direct I/O and parallel-dio.
 * An inspected share feeds it every request; other shares feed it nothing.
 */
export class InodeActivity {
  private readonly inodes = new Map<number, Activity>()
  private readonly handles = new Map<number, OpenState>()
  /**
   * For each WRITE in flight, the reason that would keep it from running in parallel, as judged on arrival.
   */
  private readonly reasons = new Map<WatchedRequest, LoneReason>()

  private sessionOver = false

  constructor(private readonly lookup: Introspection) {}

  /** Records a request's arrival on the ring. All requests of a batch arrive before any of them is served. */
  seen(request: WatchedRequest): void {
    if (request.summary.opcode !== Opcode.WRITE) return
    const activity = this.of(request.summary.nodeid)
    const { writing } = activity
    writing.add(request)
    activity.highestOverlap = Math.max(activity.highestOverlap, writing.size)
    for (const other of writing) other.overlap = Math.max(other.overlap, writing.size)
    if (this.isParallel(request)) this.reasons.set(request, this.likelyReason(request, activity))
  }

  /** Records a request's completion. */
  completed(request: WatchedRequest): void {
    const { summary, error } = request
    switch (summary.opcode) {
      case Opcode.READ:
        this.of(summary.nodeid).reads++
        break
      case Opcode.WRITE:
        this.written(request)
        break
      case Opcode.OPEN:
        if (error === 0) this.opened(summary.nodeid, request.reply, BEHIND_HEADER)
        break
      case Opcode.CREATE:
        if (error === 0) this.opened(u64At(request.reply, BEHIND_HEADER), request.reply, BEHIND_ENTRY)
        break
      case Opcode.RELEASE:
        this.released(summary.handle)
        break
    }
  }

  /**
   * Ends the session: node ids lose their meaning. The counts stay readable until the next session begins.
   */
  endSession(): void {
    this.sessionOver = true
    this.handles.clear()
    this.reasons.clear()
    for (const activity of this.inodes.values()) {
      activity.writing.clear()
      activity.openNow = 0
    }
  }

  /** The requests in flight arrive again. */
  forgetUnderWay(): void {
    this.reasons.clear()
    for (const { writing } of this.inodes.values()) writing.clear()
  }

  clear(): void {
    this.sessionOver = false
    this.inodes.clear()
    this.handles.clear()
    this.reasons.clear()
  }

  /** Sets every count to zero; open files and requests in flight stay known. */
  resetCounts(): void {
    for (const activity of this.inodes.values()) {
      activity.reads = 0
      activity.cachedWrites = 0
      activity.directWrites = 0
      activity.overlappedWrites = 0
      activity.highestOverlap = activity.writing.size
      activity.opens.clear()
      activity.lone.clear()
    }
  }

  /** Reports every inode with any activity, in no particular order. */
  report(): InodeReport[] {
    if (!this.sessionOver) this.refreshPaths()
    return [...this.inodes.values()].map((activity) => ({
      path: activity.path,
      nodeid: activity.nodeid,
      reads: activity.reads,
      cachedWrites: activity.cachedWrites,
      directWrites: activity.directWrites,
      writesInFlight: activity.writing.size,
      highestOverlap: activity.highestOverlap,
      overlappedWrites: activity.overlappedWrites,
      opens: Object.fromEntries([...activity.opens].map(([flags, count]) => [openFlagNames(flags), count])),
      openNow: activity.openNow,
      loneWrites: Object.fromEntries(activity.lone),
    }))
  }

  /** Updates the paths, since files may have been renamed. A file without a name keeps its last path. */
  private refreshPaths(): void {
    for (const activity of this.inodes.values()) {
      activity.path = this.lookup.pathOf(activity.nodeid) ?? activity.path
    }
  }

  private of(nodeid: number): Activity {
    if (this.sessionOver) this.clear()
    let activity = this.inodes.get(nodeid)
    if (activity === undefined) {
      activity = new Activity(nodeid, this.lookup.pathOf(nodeid))
      this.inodes.set(nodeid, activity)
      if (this.inodes.size > MAX_INODES) this.dropOldest()
    }
    return activity
  }

  private dropOldest(): void {
    for (const [nodeid, activity] of this.inodes) {
      if (activity.openNow > 0 || activity.writing.size > 0) continue
      this.inodes.delete(nodeid)
      return
    }
  }

  private isParallel({ summary }: WatchedRequest): boolean {
    // Only the file system knows a file that was opened before inspection began.
    const openFlags = this.handles.get(summary.handle)?.openFlags ?? this.lookup.openFlagsOf(summary.handle)
    return (openFlags & FOPEN_PARALLEL_DIRECT_WRITES) !== 0
  }

  private likelyReason({ summary }: WatchedRequest, activity: Activity): LoneReason {
    if ((summary.detailFlags & FUSE_WRITE_CACHE) !== 0) return 'write-back'
    if ((summary.flags & O_APPEND) !== 0) return 'append'
    const sizeBytes = this.lookup.sizeOf(summary.nodeid)
    if (sizeBytes >= 0 && summary.offsetBytes + summary.sizeBytes > sizeBytes) return 'extends the file'
    if (activity.cachedOpenNow > 0) return 'cached open'
    return activity.mapped ? 'shared mmap' : 'no other writer seen'
  }

  private written(request: WatchedRequest): void {
    const activity = this.of(request.summary.nodeid)
    activity.writing.delete(request)
    const cached = (request.summary.detailFlags & FUSE_WRITE_CACHE) !== 0
    if (cached) activity.cachedWrites++
    else activity.directWrites++
    if (cached && activity.cachedOpenNow === 0) activity.mapped = true
    if (request.overlap > 1) activity.overlappedWrites++
    const reason = this.reasons.get(request)
    this.reasons.delete(request)
    if (reason !== undefined && request.overlap === 1) {
      activity.lone.set(reason, (activity.lone.get(reason) ?? 0) + 1)
    }
  }

  private opened(nodeid: number, reply: Int32Array, at: number): void {
    const activity = this.of(nodeid)
    const openFlags = OpenReply.openFlags(reply, at)
    activity.opens.set(openFlags, (activity.opens.get(openFlags) ?? 0) + 1)
    activity.openNow++
    if ((openFlags & FOPEN_DIRECT_IO) === 0) activity.cachedOpenNow++
    this.handles.set(OpenReply.handle(reply, at), { activity, openFlags })
  }

  private released(handle: number): void {
    const open = this.handles.get(handle)
    if (open === undefined) return
    this.handles.delete(handle)
    const { activity, openFlags } = open
    activity.openNow--
    if ((openFlags & FOPEN_DIRECT_IO) === 0) activity.cachedOpenNow--
    // The inode leaves caching mode when the file that mapped it is closed. After the last close this is
    // certain.
    if (activity.openNow === 0) activity.mapped = false
  }
}

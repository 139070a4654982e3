import { DirtyPages, Frontend, loadState, saveState } from 'vhost-user-ts/frontend'
import {
  Dirent,
  EntryOut,
  errnoName,
  FUSE_ROOT_ID,
  InHeader,
  Opcode,
  OpenOut,
  OutHeader,
} from 'virtio-fs-ts/protocol'

const MIB = 1 << 20
const MEMORY_BYTES = 4 * MIB
const QUEUE_SIZE = 128
const REQUEST_QUEUE = 1
const TIMEOUT_MS = 120_000
const REQUEST_ROOM_BYTES = 4096
const REPLY_ROOM_BYTES = 128 * 1024
/** FUSE 7.38 with READDIRPLUS and MAX_PAGES. */
const INIT_WORDS = [7, 38, 131_072, (1 << 13) | (1 << 22)]
const INIT_BYTES = 64
const DT_DIR = 4

/** A move of a guest, in milliseconds. */
export interface Move {
  /** From the first GET_VRING_BASE until the source says that its state is whole. */
  readonly saveMs: number
  /** From there until the first request is answered at the destination. */
  readonly loadMs: number
  readonly stateBytes: number
}

/** A guest that has looked at every file of a share, played on the device's socket. It has one request in flight. */
export class CachedGuest {
  /** Inodes in its cache, as it was told of them. */
  inodes = 0
  private readonly frontend: Frontend
  private readonly requestGpa: number
  private readonly replyGpa: number
  private readonly request = new DataView(new ArrayBuffer(REQUEST_ROOM_BYTES))
  private unique = 2
  /** Some of the inodes, to ask for after a move. */
  private readonly samples: number[] = []

  /** Connects and mounts. */
  constructor(socketPath: string) {
    this.frontend = new Frontend(socketPath, { regionBytes: [MEMORY_BYTES], timeoutMs: TIMEOUT_MS })
    this.frontend.negotiate()
    for (let n = 0; n <= REQUEST_QUEUE; n++) this.frontend.addQueue(QUEUE_SIZE)
    this.requestGpa = this.frontend.allocate(REQUEST_ROOM_BYTES, REQUEST_ROOM_BYTES)
    this.replyGpa = this.frontend.allocate(REPLY_ROOM_BYTES, REQUEST_ROOM_BYTES)
    this.ask(Opcode.INIT, 0, INIT_BYTES, (v, at) => {
      for (const [n, word] of INIT_WORDS.entries()) v.setUint32(at + 4 * n, word, true)
    })
  }

  /** Lists every directory, as find(1) does, and records the inodes. */
  lookAtEverything(): void {
    const waiting = [FUSE_ROOT_ID]
    for (let nodeid = waiting.pop(); nodeid !== undefined; nodeid = waiting.pop()) {
      const opened = this.ask(Opcode.OPENDIR, nodeid, 8, () => {})
      const handle = OpenOut.handle(opened, 0)
      for (let position = 0n; ; ) {
        const listing = this.list(nodeid, handle, position)
        if (listing.byteLength === 0) break
        position = this.take(listing, waiting)
      }
      this.ask(Opcode.RELEASEDIR, nodeid, 24, (v, at) => v.setBigUint64(at, BigInt(handle), true))
    }
  }

  /** Has the device log what it writes, with which QEMU begins a migration. A device may prepare itself meanwhile. */
  beginMigration(): void {
    new DirtyPages(this.frontend)
  }

  /** Stops the guest and goes on at another device. */
  move(socketPath: string): Move {
    const { frontend } = this
    const stoppedMs = performance.now()
    const bases = frontend.queues.map((_, index) => frontend.stopQueue(index))
    const state = saveState(frontend)
    const savedMs = performance.now()
    const before = frontend.moveTo(socketPath)
    loadState(frontend, state)
    for (const [index, base] of bases.entries()) frontend.startQueue(index, base)
    this.getattr(FUSE_ROOT_ID)
    const goneOnMs = performance.now()
    this.lookAtSome()
    before.close()
    return { saveMs: savedMs - stoppedMs, loadMs: goneOnMs - savedMs, stateBytes: state.length }
  }

  /** Asks for some of the inodes. Throws if one is not there. */
  lookAtSome(): void {
    for (const nodeid of this.samples) this.getattr(nodeid)
  }

  close(): void {
    this.frontend.close()
  }

  private getattr(nodeid: number): void {
    this.ask(Opcode.GETATTR, nodeid, 16, () => {})
  }

  private list(nodeid: number, handle: number, position: bigint): DataView {
    return this.ask(Opcode.READDIRPLUS, nodeid, 40, (v, at) => {
      v.setBigUint64(at, BigInt(handle), true)
      v.setBigUint64(at + 8, position, true)
      v.setUint32(at + 16, REPLY_ROOM_BYTES - OutHeader.BYTES, true)
    })
  }

  /** Counts the entries of a listing. Puts directories into `waiting`. Returns the position behind the last entry. */
  private take(v: DataView, waiting: number[]): bigint {
    let position = 0n
    for (let at = 0; at < v.byteLength; ) {
      const nodeid = EntryOut.nodeid(v, at)
      const direntAt = at + EntryOut.BYTES
      position = v.getBigUint64(direntAt + 8, true)
      at = direntAt + Dirent.paddedBytes(Dirent.nameBytes(v, direntAt))
      // The entries . and ..
      if (nodeid === 0) continue
      this.inodes++
      if (Dirent.type(v, direntAt) !== DT_DIR) continue
      waiting.push(nodeid)
      this.samples.push(nodeid)
    }
    return position
  }

  /** Sends a request with `argBytes` of arguments. Returns the reply behind its header. Throws if the device refuses. */
  private ask(
    opcode: number,
    nodeid: number,
    argBytes: number,
    fill: (v: DataView, at: number) => void,
  ): DataView {
    const { frontend, request } = this
    const queue = frontend.queues[REQUEST_QUEUE]!
    const lenBytes = InHeader.BYTES + argBytes
    const bytes = new Uint8Array(request.buffer, 0, lenBytes)
    bytes.fill(0)
    request.setUint32(0, lenBytes, true)
    request.setUint32(4, opcode, true)
    request.setBigUint64(8, BigInt(this.unique), true)
    request.setBigUint64(16, BigInt(nodeid), true)
    this.unique += 2
    fill(request, InHeader.BYTES)
    queue.submit(
      [frontend.write(this.requestGpa, bytes)],
      [{ gpa: this.replyGpa, lenBytes: REPLY_ROOM_BYTES }],
    )
    queue.kick()
    const used = queue.reap(TIMEOUT_MS)
    if (used === undefined) throw new Error(`opcode ${opcode} has no answer`)
    const reply = frontend.read(this.replyGpa, used.writtenBytes)
    const error = new DataView(reply.buffer).getInt32(4, true)
    if (error !== 0) throw new Error(`opcode ${opcode} of inode ${nodeid}: ${errnoName(-error)}`)
    return new DataView(reply.buffer, OutHeader.BYTES)
  }
}

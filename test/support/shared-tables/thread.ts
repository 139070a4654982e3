/** A thread of the model test of shared tables: plays the part of a guest's queue. */
import { parentPort, workerData } from 'node:worker_threads'
import { FUSE_ROOT_ID, Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { NO_FD, OpenFile } from '../../../src/passthrough/files/open-file.js'
import { hostFileSystemAt } from '../../../src/passthrough/inodes/host-file-system.js'
import type { InodeFds } from '../../../src/passthrough/inodes/inode-fds.js'
import type { InodeFinder } from '../../../src/passthrough/inodes/inode-finder.js'
import type { InodeTable } from '../../../src/passthrough/inodes/inode-table.js'
import { STATX_MASK } from '../../../src/passthrough/inodes/statx.js'
import type { SharedFiles } from '../../../src/passthrough/shared/shared-files.js'
import type { SharedSpace } from '../../../src/passthrough/shared/shared-space.js'
import type { TableMemory } from '../../../src/passthrough/shared/table-memory.js'
import { Tables } from './tables.js'

export interface ModelStart {
  readonly memory: TableMemory
  readonly thread: number
  readonly threads: number
  readonly directory: string
  readonly files: number
  readonly fdLimit: number
  readonly audits: number
  /** Batches between two audits. */
  readonly steps: number
  readonly isHostile: boolean
  readonly seed: number
  /** A double for each thread and file: the lookups that the thread has counted and not forgotten. */
  readonly counts: SharedArrayBuffer
  /** A double for each file: a handle, or a node id, that any thread may have heard of. */
  readonly handles: SharedArrayBuffer
  readonly rumours: SharedArrayBuffer
  /** Words of a barrier. */
  readonly gate: SharedArrayBuffer
}

export interface ModelResult {
  readonly faults: readonly string[]
  readonly lookups: number
  readonly reopened: number
  readonly met: number
  readonly outOfFds: number
}

const { O_RDONLY } = native.constants
const OPS_PER_BATCH = 6
const ENFILE = -23
const ESTALE = -116
const MOST_FAULTS = 5

class Model {
  private readonly tables: Tables
  private readonly space: SharedSpace
  private readonly inodes: InodeTable
  private readonly fds: InodeFds
  private readonly finder: InodeFinder
  private readonly open: SharedFiles
  private readonly rootFd: number
  private readonly names: Uint8Array[]
  private readonly inos: number[] = []
  private readonly st = new Int32Array(Statx.WORDS)
  private readonly counts: Float64Array
  private readonly handles: Float64Array
  private readonly rumours: Float64Array
  private readonly gate: Int32Array
  /** By file: the node id while this thread has lookups of it, and the handles that it has not released. */
  private readonly nodeids: (number | undefined)[] = []
  private readonly own: [file: number, handle: number][] = []
  private seed: number
  private lookups = 0
  private reopened = 0
  private met = 0
  readonly faults: string[] = []

  constructor(private readonly start: ModelStart) {
    const { memory, thread, directory, fdLimit } = start
    this.seed = start.seed
    this.counts = new Float64Array(start.counts)
    this.handles = new Float64Array(start.handles)
    this.rumours = new Float64Array(start.rumours)
    this.gate = new Int32Array(start.gate)
    const tables = new Tables(memory, thread, directory, fdLimit)
    this.tables = tables
    this.space = tables.space
    this.inodes = tables.inodes
    this.fds = tables.fds
    this.finder = tables.finder
    this.open = tables.open
    this.rootFd = tables.rootFd
    this.names = Array.from({ length: start.files }, (_, n) => new TextEncoder().encode(`f${n}\0`))
    for (const name of this.names) {
      native.statx(this.rootFd, name, 0, 0, STATX_MASK, this.st)
      this.inos.push(Statx.inoLow(this.st))
    }
  }

  run(): ModelResult {
    const { thread, audits, steps } = this.start
    if (thread === 0) {
      native.fstatx(this.rootFd, STATX_MASK, this.st)
      this.inodes.add(native.dup(this.rootFd), this.st)
    }
    this.wait()
    for (let n = 0; n < audits; n++) {
      for (let step = 0; step < steps; step++) this.batch()
      this.auditTogether(this.start.isHostile)
    }
    this.giveAllBack()
    this.auditTogether(this.start.isHostile)
    if (thread === 0) {
      this.open.clear((file) => file.release())
      this.inodes.clear()
      this.space.leave()
      if (this.space.budget.used !== 0) this.fault(`${this.space.budget.used} descriptors are left`)
    }
    this.wait()
    const { faults, lookups, reopened, met } = this
    return { faults, lookups, reopened, met, outOfFds: this.tables.outOfFds }
  }

  private fault(text: string): void {
    if (this.faults.length < MOST_FAULTS) this.faults.push(text)
  }

  private below(limit: number): number {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0
    return Math.floor((this.seed / 2 ** 32) * limit)
  }

  private countAt(file: number): number {
    return this.start.thread * this.start.files + file
  }

  private batch(): void {
    this.space.enter()
    for (let n = this.below(OPS_PER_BATCH); n >= 0; n--) this.operate(this.below(this.start.files))
    this.space.leave()
  }

  private operate(file: number): void {
    switch (this.below(this.start.isHostile ? 8 : 6)) {
      case 0:
      case 1:
        this.lookUp(file)
        break
      case 2:
        this.forget(file)
        break
      case 3:
        this.use(file)
        break
      case 4:
        if (this.own.length < 4) this.openFile(file)
        else this.release()
        break
      case 5:
        this.meet(file)
        break
      case 6:
        this.inodes.forget(this.rumours[file]!, 1 + this.below(3))
        break
      default: {
        const handle = this.handles[file]!
        this.open.remove(handle)?.release()
      }
    }
  }

  private lookUp(file: number): void {
    const slot = this.finder.lookup(FUSE_ROOT_ID, this.names[file]!, 0, this.st)
    if (slot === ENFILE) return
    if (slot <= 0) {
      this.fault(`lookup: ${slot}`)
      return
    }
    const nodeid = this.inodes.idOf(slot)
    const before = this.nodeids[file]
    if (Statx.inoLow(this.st) !== this.inos[file]) this.fault('lookup found another file')
    if (!this.start.isHostile && before !== undefined && before !== nodeid)
      this.fault(`file ${file} was ${before} and is ${nodeid}`)
    this.nodeids[file] = nodeid
    this.rumours[file] = nodeid
    this.counts[this.countAt(file)]! += 1
    this.lookups++
  }

  private forget(file: number): void {
    const nodeid = this.nodeids[file]
    const at = this.countAt(file)
    if (nodeid === undefined) return
    const count = 1 + this.below(this.counts[at]!)
    this.counts[at]! -= count
    if (this.counts[at] === 0) this.nodeids[file] = undefined
    this.inodes.forget(nodeid, count)
  }

  private use(file: number): void {
    const nodeid = this.nodeids[file]
    if (nodeid === undefined) return
    const slot = this.inodes.slotOf(nodeid)
    if (slot === 0) {
      if (!this.start.isHostile) this.fault(`node id ${nodeid} is not known`)
      return
    }
    const wasOpen = this.fds.isOpen(slot)
    const fd = this.inodes.fdOf(slot)
    if (fd === ENFILE || (fd === ESTALE && this.start.isHostile)) return
    if (!wasOpen) this.reopened++
    this.check(fd, file, 'inode')
  }

  private openFile(file: number): void {
    const nodeid = this.nodeids[file]
    const slot = nodeid === undefined ? 0 : this.inodes.slotOf(nodeid)
    if (nodeid === undefined || slot === 0 || !this.fds.makeRoom()) return
    const fd = native.openat(this.rootFd, this.names[file]!, 0, O_RDONLY, 0)
    const use = { openFlags: 1, isWritable: false, isAppendOnly: false, writesPages: true }
    const handle = this.open.add(
      new OpenFile(fd, NO_FD, this.space.budget, nodeid, hostFileSystemAt(fd), use),
    )
    this.handles[file] = handle
    this.own.push([file, handle])
  }

  private release(): void {
    const [pair] = this.own.splice(this.below(this.own.length), 1)
    if (pair === undefined) return
    const file = this.open.remove(pair[1])
    if (file === undefined) {
      if (!this.start.isHostile) this.fault(`handle ${pair[1]} is not known`)
      return
    }
    this.check(file.fd, pair[0], 'file that is released')
    file.release()
  }

  /** Uses a handle that another thread may release at this moment, in the batch and, if it can be held, after it. */
  private meet(file: number): void {
    const met = this.open.get(this.handles[file]!)
    if (met === undefined) return
    this.met++
    this.check(met.fd, file, 'file')
    if (!met.hold()) return
    this.space.leave()
    this.check(met.fd, file, 'held file')
    this.space.enter()
    met.release()
  }

  /** A hostile guest may reach another file of the share by an inode that it has forgotten meanwhile, and nothing else. */
  private check(fd: number, file: number, what: string): void {
    const result = native.fstatx(fd, STATX_MASK, this.st)
    const ino = Statx.inoLow(this.st)
    if (result < 0 || (this.start.isHostile ? !this.inos.includes(ino) : ino !== this.inos[file]))
      this.fault(`${what} ${file}: descriptor ${fd} is another file, or closed (${result})`)
  }

  private giveAllBack(): void {
    this.space.enter()
    while (this.own.length > 0) this.release()
    for (let file = 0; file < this.start.files; file++) {
      const nodeid = this.nodeids[file]
      if (nodeid !== undefined) this.inodes.forget(nodeid, this.counts[this.countAt(file)]!)
      this.counts[this.countAt(file)] = 0
      this.nodeids[file] = undefined
    }
    this.space.leave()
  }

  /** While all threads stand still, the first one compares the tables with what the threads know. */
  private auditTogether(isHostile: boolean): void {
    this.wait()
    this.space.leave()
    this.wait()
    if (this.start.thread === 0 && !isHostile) this.audit()
    this.wait()
  }

  private audit(): void {
    const { inodes, fds, start } = this
    let known = 1
    let openFds = fds.isOpen(FUSE_ROOT_ID) ? 1 : 0
    for (let file = 0; file < start.files; file++) {
      let sum = 0
      for (let n = 0; n < start.threads; n++) sum += this.counts[n * start.files + file]!
      native.statx(this.rootFd, this.names[file]!, 0, 0, STATX_MASK, this.st)
      const slot = inodes.slotFor(this.st)
      const lookups = slot === 0 ? 0 : inodes.lookupsOf(slot)
      if (lookups !== sum) this.fault(`file ${file} has ${lookups} lookups in the table, and ${sum}`)
      if (slot === 0) continue
      known++
      if (fds.isOpen(slot)) {
        openFds++
        this.check(fds.openFd(slot), file, 'audited inode')
      }
    }
    if (inodes.count !== known) this.fault(`the table has ${inodes.count} inodes, not ${known}`)
    const used = openFds + this.open.count
    if (this.space.budget.used !== used)
      this.fault(`${this.space.budget.used} descriptors count, not ${used}`)
    if ([...inodes.known()].length !== known) this.fault('the known slots are others')
  }

  private wait(): void {
    const { gate } = this
    const round = Atomics.load(gate, 1)
    if (Atomics.add(gate, 0, 1) + 1 === this.start.threads) {
      Atomics.store(gate, 0, 0)
      Atomics.add(gate, 1, 1)
      Atomics.notify(gate, 1)
    } else while (Atomics.load(gate, 1) === round) Atomics.wait(gate, 1, round)
  }
}

// The test starts this worker with this data.
const model = new Model(workerData as ModelStart)
parentPort?.postMessage(model.run())

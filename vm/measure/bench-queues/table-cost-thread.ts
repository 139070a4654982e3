/** One thread of `tableCosts`. */
import { parentPort, workerData } from 'node:worker_threads'
import { Statx } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { FdBudget } from '../../../src/passthrough/inodes/fd-budget.js'
import { HostFileSystems } from '../../../src/passthrough/inodes/host-file-system.js'
import { InodeFds } from '../../../src/passthrough/inodes/inode-fds.js'
import { InodeTable } from '../../../src/passthrough/inodes/inode-table.js'
import { SharedInodes } from './shared/shared-inodes.js'

export type TableKind = 'own' | 'shared'
/** Nanoseconds of this thread’s processor time, by operation. */
export type CostResult = Record<string, number>

export interface CostStart {
  readonly kind: TableKind
  readonly memory: SharedArrayBuffer
  readonly gate: SharedArrayBuffer
  readonly capacity: number
  readonly thread: number
  readonly threads: number
}

interface Table {
  /** Counts a lookup of a file that is known. */
  lookUp(file: number): number
  /** Makes an inode of a file that is not. */
  add(file: number): number
  idOf(slot: number): number
  slotOf(nodeid: number): number
  fdOf(slot: number): number
  unref(slot: number, count: number): void
  enter(): void
  leave(): void
}

const BATCH = 32
const FILES = 1 << 14
const PASSES = 12
const DEVICE = 1
const TYPE = 8

const { kind, memory, gate, capacity, thread, threads } = workerData as CostStart

function ownTable(): Table {
  const st = new Int32Array(Statx.WORDS)
  const fds = new InodeFds(
    new FdBudget(1 << 20),
    undefined,
    new HostFileSystems(),
    { forget: () => {} } as never,
    () => {},
  )
  const inodes = new InodeTable(fds)
  const at = (file: number) => {
    st[Statx.INO] = file
    return st
  }
  inodes.add(-1, at(0))
  return {
    lookUp: (file) => {
      const slot = inodes.slotFor(at(file))
      inodes.ref(slot)
      return slot
    },
    add: (file) => (inodes.slotFor(at(file)) === 0 ? inodes.add(-1, st) : 0),
    idOf: (slot) => inodes.idOf(slot),
    slotOf: (nodeid) => inodes.slotOf(nodeid),
    fdOf: (slot) => fds.openFd(slot),
    unref: (slot, count) => inodes.unref(slot, count),
    enter: () => {},
    leave: () => {},
  }
}

function sharedTable(): Table {
  const inodes = new SharedInodes(memory, capacity, thread, threads, { close: () => {}, reopen: () => -2 })
  inodes.addRoot(DEVICE, 0, 0, TYPE, 5)
  return {
    lookUp: (file) => inodes.find(DEVICE, file, 0),
    add: (file) => inodes.add(DEVICE, file, 0, TYPE, 5),
    idOf: (slot) => inodes.idOf(slot),
    slotOf: (nodeid) => inodes.slotOf(nodeid),
    fdOf: (slot) => inodes.fdOf(slot),
    unref: (slot, count) => inodes.unref(slot, count),
    enter: () => inodes.enter(),
    leave: () => inodes.leave(),
  }
}

const table = kind === 'own' ? ownTable() : sharedTable()
const ids = new Float64Array(FILES)
/** The files of this thread lie between those of the others. */
const fileOf = (n: number): number => 1 + n * threads + thread

function batches(work: (n: number) => void): number {
  const from = native.threadCpuNs()
  for (let n = 0; n < FILES; ) {
    table.enter()
    for (const end = n + BATCH; n < end; n++) work(n)
    table.leave()
  }
  return (native.threadCpuNs() - from) / FILES
}

let sink = 0
const works: Record<string, (n: number) => void> = {
  'new inode': (n) => {
    ids[n] = table.idOf(table.add(fileOf(n)))
  },
  'known inode': (n) => {
    sink += table.lookUp(fileOf(n))
  },
  get: (n) => {
    sink += table.fdOf(table.slotOf(ids[n]!))
  },
  'forget one': (n) => table.unref(table.slotOf(ids[n]!), 1),
  'forget the last': (n) => table.unref(table.slotOf(ids[n]!), 1),
}

Atomics.add(new Int32Array(gate), 0, 1)
Atomics.notify(new Int32Array(gate), 0)
for (let ready = 0; ready < threads; ready = Atomics.load(new Int32Array(gate), 0))
  Atomics.wait(new Int32Array(gate), 0, ready, 10)
const least: CostResult = {}
for (let pass = 0; pass < PASSES; pass++)
  for (const [name, work] of Object.entries(works)) {
    const ns = batches(work)
    // The first passes compile.
    if (pass >= 3) least[name] = (least[name] ?? 0) + ns / (PASSES - 3)
  }
if (sink === 1) throw new Error('nothing was looked up')
parentPort?.postMessage(least)

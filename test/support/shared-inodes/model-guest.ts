import type { SharedInodes } from '../../../vm/measure/bench-queues/shared/shared-inodes.js'
import type { ModelHost } from './model-host.js'

const DEVICE = 1
const TYPE = 8
export const ROOT_FILE = 0

/** Repeatable random numbers. */
export class Random {
  constructor(private state: number) {}

  below(end: number): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) | 0
    return Math.floor(((this.state >>> 8) / 2 ** 24) * end)
  }
}

/**
 * One thread's share of a guest: it forgets only what it has looked up itself. So the lookups of a file are the sum of what all
 * threads hold, whatever the order in which they ran.
 */
export class ModelGuest {
  /** By file: the node id, and the lookups that this thread has not forgotten. */
  readonly held = new Map<number, { nodeid: number; count: number }>()
  /** The node ids that this thread has made. */
  readonly made: number[] = []
  readonly faults: string[] = []
  /** Node ids that other threads may know, and that may be forgotten: read and written by all. */
  private readonly rumours: Float64Array

  constructor(
    readonly table: SharedInodes,
    readonly host: ModelHost,
    private readonly files: number,
    private readonly random: Random,
    rumours: SharedArrayBuffer,
    /** Also forgets what others have looked up: no thread then knows what is left. */
    private readonly isHostile = false,
  ) {
    this.rumours = new Float64Array(rumours)
    host.fileOf = (slot) => table.inoLowOf(slot)
    table.addRoot(DEVICE, ROOT_FILE, 0, TYPE, host.openFile(ROOT_FILE))
  }

  /** One random operation, within a batch. */
  step(): void {
    const file = 1 + this.random.below(this.files)
    switch (this.random.below(9)) {
      case 0:
      case 1:
        this.lookUpByOpening(file)
        break
      case 2:
        this.lookUp(file)
        break
      case 3:
      case 4:
        this.forget(file)
        break
      case 5:
        this.evict(file)
        break
      case 6:
        this.useOwn(file)
        break
      case 7:
        if (this.isHostile) this.forgetRumour()
        else this.link(file)
        break
      default:
        this.useRumour()
    }
  }

  /** Forgets everything. */
  forgetAll(): void {
    for (const [file, { nodeid, count }] of this.held) {
      const slot = this.slotOf(nodeid, file)
      if (slot !== 0) this.table.unref(slot, count)
      this.held.delete(file)
    }
  }

  countOf(file: number): number {
    return this.held.get(file)?.count ?? 0
  }

  private lookUpByOpening(file: number): void {
    const { table, host } = this
    const fd = host.openFile(file)
    const slot = table.add(DEVICE, file, 0, TYPE, fd)
    const { added } = table
    if (slot === 0) this.faults.push('no row left')
    if (!added) host.close(fd)
    const nodeid = this.hold(file, slot)
    if (added) this.made.push(nodeid)
  }

  private lookUp(file: number): void {
    const slot = this.table.find(DEVICE, file, 0)
    if (slot !== 0) this.hold(file, slot)
    else if (this.held.has(file) && !this.isHostile) this.faults.push(`file ${file} is held and not found`)
  }

  /** A lookup was counted. */
  private hold(file: number, slot: number): number {
    const nodeid = this.table.idOf(slot)
    const before = this.held.get(file)
    if (before !== undefined && before.nodeid !== nodeid && !this.isHostile)
      this.faults.push(`file ${file} is node ${before.nodeid} and ${nodeid}`)
    this.held.set(file, { nodeid, count: (before?.count ?? 0) + 1 })
    this.rumours[this.random.below(this.rumours.length)] = nodeid
    return nodeid
  }

  private forget(file: number): void {
    const known = this.held.get(file)
    if (known === undefined) return
    const count = 1 + this.random.below(known.count)
    const slot = this.slotOf(known.nodeid, file)
    if (slot !== 0) this.table.unref(slot, count)
    if (count === known.count) this.held.delete(file)
    else this.held.set(file, { ...known, count: known.count - count })
  }

  /** LINK counts a lookup of a node that the guest names. */
  private link(file: number): void {
    const known = this.held.get(file)
    if (known === undefined) return
    if (this.table.ref(this.slotOf(known.nodeid, file)))
      this.held.set(file, { ...known, count: known.count + 1 })
    else this.faults.push(`node ${known.nodeid} is held and not linked`)
  }

  private forgetRumour(): void {
    const slot = this.table.slotOf(this.rumours[this.random.below(this.rumours.length)])
    for (let n = this.random.below(300); n > 0; n--) this.table.slotOf(n)
    if (slot === 0) return
    if (this.random.below(2) === 0) this.table.ref(slot)
    this.table.unref(slot, Number.POSITIVE_INFINITY)
  }

  private evict(file: number): void {
    const known = this.held.get(file)
    const slot = known === undefined ? 0 : this.slotOf(known.nodeid, file)
    if (slot !== 0) this.table.evict(slot)
  }

  private useOwn(file: number): void {
    const known = this.held.get(file)
    const slot = known === undefined ? 0 : this.slotOf(known.nodeid, file)
    if (slot !== 0) this.use(slot, file)
  }

  /** Uses a node id that any thread may forget at any time. */
  private useRumour(): void {
    const nodeid = this.rumours[this.random.below(this.rumours.length)]
    const slot = nodeid === 0 ? 0 : this.table.slotOf(nodeid)
    if (slot !== 0) this.use(slot, this.table.inoLowOf(slot))
  }

  private use(slot: number, file: number): void {
    const fd = this.table.fdOf(slot)
    if (fd < 0) return
    this.host.use(fd, file)
    // The call takes a while.
    for (let n = this.random.below(300); n > 0; n--) this.host.use(fd, file)
  }

  private slotOf(nodeid: number, file: number): number {
    const { table } = this
    const slot = table.slotOf(nodeid)
    if (slot === 0 && !this.isHostile) this.faults.push(`node ${nodeid} is held and not known`)
    else if (slot !== 0 && table.inoLowOf(slot) !== file)
      this.faults.push(`node ${nodeid} of file ${file} is ${table.inoLowOf(slot)}`)
    return slot
  }
}

/** What is wrong with a table that no thread is using, if the guests hold what `countOf` says, or undefined for unknown. */
export function auditTable(
  table: SharedInodes,
  capacity: number,
  files: number,
  countOf: ((file: number) => number) | undefined,
): string[] {
  const faults: string[] = []
  const seen = new Map<number, number>()
  for (let slot = 2; slot < capacity; slot++) {
    if (!table.isKnown(slot)) continue
    const file = table.inoLowOf(slot)
    if (seen.has(file)) faults.push(`file ${file} has rows ${seen.get(file)} and ${slot}`)
    seen.set(file, slot)
  }
  for (let file = 1; file <= files; file++) {
    const slot = seen.get(file)
    const lookups = slot === undefined ? 0 : table.lookupsOf(slot)
    if (slot !== undefined && !(lookups > 0)) faults.push(`file ${file} is known with ${lookups} lookups`)
    if (countOf !== undefined && lookups !== countOf(file))
      faults.push(`file ${file} has ${lookups} lookups, not ${countOf(file)}`)
  }
  return faults
}

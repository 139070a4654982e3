import { performance } from 'node:perf_hooks'
import type { EventLoop } from '../event-loop.js'
import { type RingServer, soonest } from './ring-server.js'

/** While rings are busy, messages and other descriptors are checked this often. */
const CHECK_EVERY_MS = 1

/** Work of the thread that is done between batches, now and then. */
export interface LoopWork {
  progress(nowMs: number): void
  /** Returns the milliseconds until `progress` has work, or -1 for never. */
  nextDueMs(): number
}

/** Serves rings on a thread that does nothing else. */
export class RingLoop {
  constructor(
    private readonly rings: RingServer,
    private readonly loop: EventLoop,
    /** Returns the memory in which the rings are. */
    private readonly memoryId: () => number,
    private readonly work?: LoopWork,
  ) {}

  /** Serves while `goesOn` returns true. */
  run(goesOn: () => boolean): void {
    const { rings, loop, work } = this
    let nowMs = performance.now()
    let checkedMs = nowMs
    while (goesOn()) {
      const hasSlept = !rings.work(nowMs) && this.waitForWork()
      const startMs = nowMs
      // One look at the clock for all that need the time: on some hosts it takes a tenth of a microsecond.
      nowMs = performance.now()
      if (hasSlept) {
        rings.slept(nowMs - startMs)
        checkedMs = nowMs
        work?.progress(nowMs)
      } else if (nowMs - checkedMs >= CHECK_EVERY_MS) {
        checkedMs = nowMs
        loop.wait(0)
        work?.progress(nowMs)
      }
    }
  }

  /** Spins, then sleeps, until a ring moves or a descriptor is ready. Returns true if it has slept. */
  private waitForWork(): boolean {
    const { rings } = this
    if (rings.spin(this.memoryId())) return false
    const moved = rings.arm()
    if (!moved) this.loop.wait(Math.ceil(this.nextDueMs()))
    rings.disarm()
    return !moved
  }

  private nextDueMs(): number {
    return soonest(this.rings.nextDueMs(), this.work?.nextDueMs() ?? -1)
  }
}

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { InodeReport } from '../../src/inspect/inode-activity.js'
import { type TotalsReport, totalOf } from '../../src/inspect/inode-totals.js'
import type { Guest } from '../guest/guest.js'
import { Actor } from './actor.js'
import type { GuestFacts } from './kernel-rules.js'
import type { LabGuest } from './lab-guest.js'
import type { ShareName } from './option-sets.js'

/** A moment of a case, for its timeline. */
export interface Phase {
  readonly name: string
  /** On the clock of `performance.timeOrigin + performance.now()`. */
  readonly atMs: number
}

const SETTLE_MS = 10
/** A gate that nobody opens, after an error, opens by itself. */
const LONGEST_HOLD_MS = 30_000

/** One case on one share of a guest: its files, its actors, and the device's view of them. */
export class Scene {
  readonly phases: Phase[] = []
  private readonly actors: Actor[] = []

  constructor(
    private readonly lab: LabGuest,
    readonly share: ShareName,
    private readonly caseName: string,
  ) {}

  get guest(): Guest {
    return this.lab.guest
  }

  get facts(): GuestFacts {
    return this.lab.factsOf(this.share)
  }

  /** The path below the share of a file of this case. */
  file(suffix = ''): string {
    return `${this.caseName.replaceAll('/', '-')}${suffix}`
  }

  hostPath(file: string): string {
    return join(this.lab.device.directoryOf(this.share), file)
  }

  guestPath(file: string): string {
    return `/${this.share}/${file}`
  }

  /** Makes a file on the host, filled with one byte. Returns its path below the share. */
  makeFile(sizeBytes: number, byte = 0, suffix = ''): string {
    const file = this.file(suffix)
    writeFileSync(this.hostPath(file), Buffer.alloc(sizeBytes, byte))
    return file
  }

  readFile(file: string): Buffer {
    return readFileSync(this.hostPath(file))
  }

  /** A process in the guest, which ends with the case. */
  addActor(): Actor {
    const actor = new Actor(this.guest)
    this.actors.push(actor)
    return actor
  }

  beginPhase(name: string): void {
    this.phases.push({ name, atMs: performance.timeOrigin + performance.now() })
  }

  ask<T>(command: string, argument?: unknown): Promise<T> {
    return this.lab.device.ask<T>(this.share, command, argument)
  }

  /** Holds WRITEs of a file until so many are held together; `release` lets them go before. */
  async holdWrites(file: string, until: number): Promise<void> {
    const hold = { until, timeoutMs: LONGEST_HOLD_MS }
    await this.ask('fault-add', { opcodes: ['WRITE'], path: file, hold })
  }

  async holdNothing(): Promise<void> {
    await this.ask('fault-clear')
  }

  /** Lets go what is held; returns how many requests that were. */
  async release(): Promise<number> {
    return (await this.ask<{ released: number }>('release')).released
  }

  async resetCounts(): Promise<void> {
    await this.ask('reset')
  }

  /**
   * What the device counted of a file since the counts were reset. A guest that may cache no names forgets an inode when
   * nobody has it open, and gets another number for it at the next open.
   */
  async counts(file: string): Promise<TotalsReport> {
    return totalOf(await this.ask<InodeReport[]>('inodes', { path: file }))
  }

  /**
   * WRITEs of a file in flight while the guest is at rest. It has sent what it can, but the device may not have looked
   * yet: it has when it says the same twice.
   */
  async writesInFlight(file: string): Promise<number> {
    let before = -1
    for (;;) {
      const { writesInFlight } = await this.counts(file)
      if (writesInFlight === before) return writesInFlight
      before = writesInFlight
      await sleep(SETTLE_MS)
    }
  }

  /** Ends the actors and the faults. A guest in which that cannot be done is ended. */
  async leave(): Promise<void> {
    try {
      await this.holdNothing()
      for (const actor of this.actors) await actor.leave()
    } catch {
      await this.guest.kill()
    }
  }
}

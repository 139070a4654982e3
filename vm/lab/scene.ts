import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { InodeReport } from '../../src/inspect/inode-activity.js'
import { type TotalsReport, totalOf } from '../../src/inspect/inode-totals.js'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import type { Guest } from '../guest/guest.js'
import { Actor, type Settled } from './actor.js'
import { FileModel } from './file-model.js'
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
const VIEW_TIMEOUT_MS = 15_000
/** A gate that nobody opens, after an error, opens by itself. */
const LONGEST_HOLD_MS = 30_000

/** One case on one share of a guest: its files, its actors, and the device's view of them. */
export class Scene {
  readonly phases: Phase[] = []
  private readonly actors: Actor[] = []
  private readonly models = new Map<string, FileModel>()
  private checkRequests: ((requests: readonly TimedRequest[]) => string[])[] = []

  constructor(
    private readonly lab: LabGuest,
    readonly share: ShareName,
    private readonly caseName: string,
  ) {}

  get guest(): Guest {
    return this.lab.guest
  }

  /** What the kernel complained of until all shares were mounted. */
  get bootTrouble(): readonly string[] {
    return this.lab.bootTrouble
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
    return this.makeFileOf(Buffer.alloc(sizeBytes, byte), suffix)
  }

  /** A file whose bytes nobody can foretell. */
  makeAnyFile(sizeBytes: number, suffix = ''): string {
    const file = this.makeFile(sizeBytes, 0, suffix)
    this.models.delete(file)
    return file
  }

  makeFileOf(bytes: Buffer, suffix = ''): string {
    const file = this.file(suffix)
    writeFileSync(this.hostPath(file), bytes)
    this.models.set(file, new FileModel(bytes))
    return file
  }

  /** What a file of `makeFile` should hold: a case tells it all that it writes. */
  model(file: string): FileModel {
    return this.models.get(file)!
  }

  /** Lets a case judge the requests of its files, in the order in which they were seen. Empty: they are right. */
  judgeRequests(check: (requests: readonly TimedRequest[]) => string[]): void {
    this.checkRequests.push(check)
  }

  /** What is wrong with the bytes, the sizes and the requests of this case's files, once its actors have left. */
  async faults(requests: readonly TimedRequest[]): Promise<string[]> {
    const inOrder = [...requests].sort((a, b) => a.request.seenMs - b.request.seenMs)
    const faults: string[] = []
    for (const [file, model] of this.models) {
      const own = inOrder.filter(({ request }) => request.path === file)
      faults.push(...model.writeFaultsOf(own), ...model.faultsOf(this.readFile(file)))
      if (model.comparesGuest) faults.push(...model.guestFaultsOf(await this.viewOf(file)))
    }
    const ownFiles = inOrder.filter(({ request }) => request.path?.startsWith(this.file()) === true)
    return [...faults, ...this.checkRequests.flatMap((check) => check(ownFiles))]
  }

  private async viewOf(file: string): Promise<{ sizeBytes: number; md5: string }> {
    const path = this.guestPath(file)
    const answer = await this.guest.output(`stat -c %s ${path}; md5sum ${path}`, {
      timeoutMs: VIEW_TIMEOUT_MS,
    })
    const [size, md5] = answer.split(/\s+/) as [string, string]
    return { sizeBytes: Number(size), md5 }
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
    await this.hold(file, 'WRITE', until)
  }

  /** The same for another operation. */
  async hold(file: string, opcode: string, until: number): Promise<void> {
    await this.ask('fault-add', {
      opcodes: [opcode],
      path: file,
      hold: { until, timeoutMs: LONGEST_HOLD_MS },
    })
  }

  /** Lets the device do something to requests on a file: see `virtiofsd-ts ctl fault`. */
  async fault(file: string, opcode: string, what: Readonly<Record<string, unknown>>): Promise<void> {
    await this.ask('fault-add', { opcodes: [opcode], path: file, ...what })
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
   * Resolves when an actor is at rest as Actor.settle says, and the device has answered all that it does not hold. A thread
   * that sleeps until the device has had time for its request goes on by itself; such a request changes what the device
   * has counted, at the latest when the device is asked for the second time.
   */
  async rest(actor: Actor, ended = 0): Promise<Settled> {
    for (let before = ''; ; ) {
      const settled = await actor.settle(ended)
      await this.ask('latency')
      const now = JSON.stringify([settled, await this.ask('latency')])
      if (now === before) return settled
      before = now
    }
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

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { InodeReport } from '../../src/inspect/inode-activity.js'
import { type TotalsReport, totalOf } from '../../src/inspect/inode-totals.js'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import { NoAnswer } from '../guest/conversation.js'
import type { Guest } from '../guest/guest.js'
import { Actor, type Settled } from './actor.js'
import { FileModel } from './file-model.js'
import type { GuestFacts } from './kernel-rules.js'
import type { LabGuest } from './lab-guest.js'
import type { ShareName } from './option-sets.js'
import { Races } from './races.js'
import { NeedsOwnDevice, type OpenMode } from './servers/lab-server.js'

/** A moment of a case, for its timeline. */
export interface Phase {
  readonly name: string
  /** On the clock of `performance.timeOrigin + performance.now()`. */
  readonly atMs: number
}

const SETTLE_MS = 10
const VIEW_TIMEOUT_MS = 15_000
/** Looks at the device before a WRITE counts as lost: some seconds. */
const FLIGHT_LOOKS = 200
/** A gate left closed after an error opens by itself after this time. */
const LONGEST_HOLD_MS = 30_000

/** More requests than a case has in flight. */
const MANY = 1000

/** Commands that change nothing. */
const LOOKS: ReadonlySet<string> = new Set(['latency', 'inodes', 'fault-list', 'state'])

/** One case on one share of a guest: its files, its actors, and the device's view of them. */
export class Scene {
  readonly phases: Phase[] = []
  readonly races = new Races()
  /** The commands to the programs in the guest and to the device. */
  readonly steps: string[] = []
  private readonly actors: Actor[] = []
  private readonly models = new Map<string, FileModel>()
  private probed: Partial<GuestFacts> = {}
  private readonly allowed: RegExp[] = []
  private checkAll: ((requests: readonly TimedRequest[]) => string[])[] = []
  private checkRequests: ((requests: readonly TimedRequest[]) => string[])[] = []

  constructor(
    private readonly lab: LabGuest,
    readonly share: ShareName,
    private readonly caseName: string,
    private readonly beside?: ShareName,
  ) {}

  get guest(): Guest {
    return this.lab.guest
  }

  /** Complaints of the kernel until all shares were mounted. */
  get bootTrouble(): readonly string[] {
    return this.lab.bootTrouble
  }

  get facts(): GuestFacts {
    return { ...this.lab.factsOf(this.share), ...this.probed }
  }

  /** Adds what a probe has found out to the facts. */
  learn(probed: Partial<GuestFacts>): void {
    this.probed = { ...this.probed, ...probed }
  }

  /** The kernel may log this during the case. */
  allowTrouble(pattern: RegExp): void {
    this.allowed.push(pattern)
  }

  /** The kernel's messages that the case has not allowed. */
  unallowed(messages: readonly string[]): string[] {
    return messages.filter((text) => !this.allowed.some((pattern) => pattern.test(text)))
  }

  /** Mounts the share anew: a new session, with what the guest has learnt of the device forgotten. */
  async remount(): Promise<void> {
    await this.lab.remount(this.share)
  }

  /** The path of a case's file, below the share. */
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

  /** Makes a file on the share beside this one. Returns its path in the guest. */
  makeFileBeside(sizeBytes: number, byte: number): string {
    const share = this.beside!
    const file = this.file(`-${this.share}`)
    this.record(`host: ${sizeBytes} bytes to ${file} on ${share}`)
    writeFileSync(join(this.lab.device.directoryOf(share), file), Buffer.alloc(sizeBytes, byte))
    return `/${share}/${file}`
  }

  /** Makes a file with unpredictable bytes. */
  makeAnyFile(sizeBytes: number, suffix = ''): string {
    const file = this.makeFile(sizeBytes, 0, suffix)
    this.models.delete(file)
    return file
  }

  makeFileOf(bytes: Buffer, suffix = ''): string {
    const file = this.file(suffix)
    this.record(`host: ${bytes.length} bytes to ${file}`)
    writeFileSync(this.hostPath(file), bytes)
    this.models.set(file, new FileModel(bytes))
    return file
  }

  /** Makes a directory on the host with files whose contents are their names. Returns its path on either side. */
  makeDirectory(names: readonly string[], suffix = ''): { readonly host: string; readonly guest: string } {
    const directory = this.file(suffix)
    const host = this.hostPath(directory)
    this.record(`host: a directory ${directory} with ${names.length} files`)
    mkdirSync(host)
    for (const name of names) writeFileSync(join(host, name), name)
    return { host, guest: this.guestPath(directory) }
  }

  /** Runs a script in the guest. Returns its lines, in one. */
  async words(script: string): Promise<string> {
    return (await this.guest.output(script)).trim().split('\n').join(' ')
  }

  /** The expected contents of a file of `makeFile`. A case declares all its writes here. */
  model(file: string): FileModel {
    return this.models.get(file)!
  }

  /** Sets a check for the requests on this case's files, in the order of arrival. It returns a list of faults. */
  judgeRequests(check: (requests: readonly TimedRequest[]) => string[]): void {
    this.checkRequests.push(check)
  }

  /** The same for all requests on the share. */
  judgeAllRequests(check: (requests: readonly TimedRequest[]) => string[]): void {
    this.checkAll.push(check)
  }

  /** Returns the faults of bytes, sizes and requests of this case's files. Call after its actors have left. */
  async faults(traced: readonly TimedRequest[] | undefined): Promise<string[]> {
    if (traced === undefined && this.checkRequests.length + this.checkAll.length > 0)
      throw new NeedsOwnDevice('needs our device: its trace')
    const requests = traced ?? []
    const inOrder = [...requests].sort((a, b) => a.request.seenMs - b.request.seenMs)
    const faults: string[] = []
    for (const [file, model] of this.models) {
      const own = inOrder.filter(({ request }) => request.path === file)
      if (traced !== undefined) faults.push(...model.writeFaultsOf(own))
      faults.push(...model.faultsOf(this.readFile(file)))
      if (model.comparesGuest) faults.push(...model.guestFaultsOf(await this.viewOf(file)))
    }
    const ownFiles = inOrder.filter(({ request }) => request.path?.startsWith(this.file()) === true)
    return [
      ...faults,
      ...this.checkRequests.flatMap((check) => check(ownFiles)),
      ...this.checkAll.flatMap((check) => check(inOrder)),
    ]
  }

  private async viewOf(file: string): Promise<{ sizeBytes: number; md5: string }> {
    const path = this.guestPath(file)
    const answer = await this.guest.output(`stat -c %s ${path}; md5sum ${path}`, {
      timeoutMs: VIEW_TIMEOUT_MS,
    })
    const [size, md5] = answer.split(/\s+/) as [string, string]
    return { sizeBytes: Number(size), md5 }
  }

  /** Prepares an open in a mode, and returns the guest's flags for it. */
  async openFlags(mode: OpenMode): Promise<number> {
    const flags = await this.lab.device.openFlags(this.share, mode)
    if (flags === undefined) throw new NeedsOwnDevice(`needs our device: the mode ${mode}`)
    return flags
  }

  readFile(file: string): Buffer {
    return readFileSync(this.hostPath(file))
  }

  /** Starts a process in the guest, which ends with the case. */
  addActor(): Actor {
    const name = `io-actor ${this.actors.length + 1}`
    const actor = new Actor(this.guest, this.races, (line) => this.record(`${name}: ${line}`))
    this.actors.push(actor)
    return actor
  }

  private record(step: string): void {
    // The same question, asked until the guest is at rest, is one step.
    if (this.steps.at(-1) !== step) this.steps.push(step)
  }

  beginPhase(name: string): void {
    this.phases.push({ name, atMs: performance.timeOrigin + performance.now() })
  }

  ask<T>(command: string, argument?: unknown): Promise<T> {
    if (!LOOKS.has(command))
      this.record(`device: ${command}${argument === undefined ? '' : ` ${JSON.stringify(argument)}`}`)
    return this.lab.device.ask<T>(this.share, command, argument)
  }

  /** Holds WRITEs of a file until `until` of them are held together, or until `release`. */
  async holdWrites(file: string, until: number): Promise<void> {
    await this.hold(file, 'WRITE', until)
  }

  /** The same for another opcode. Without `until`, they are held until `release` or `holdNothing`. */
  async hold(file: string, opcode: string, until = MANY): Promise<void> {
    await this.ask('fault-add', {
      opcodes: [opcode],
      path: file,
      hold: { until, timeoutMs: LONGEST_HOLD_MS },
    })
  }

  /** Injects a fault into requests on a file: see `virtiofsd-ts ctl fault`. */
  async fault(file: string, opcode: string, what: Readonly<Record<string, unknown>>): Promise<void> {
    await this.ask('fault-add', { opcodes: [opcode], path: file, ...what })
  }

  async holdNothing(): Promise<void> {
    await this.ask('fault-clear')
  }

  /** Releases held requests. Returns their number. */
  async release(): Promise<number> {
    return (await this.ask<{ released: number }>('release')).released
  }

  async resetCounts(): Promise<void> {
    await this.ask('reset')
  }

  /**
   * The device's counts for a file since the last reset. A guest that may not cache names forgets an inode without open
   * files, and gets another number for it at the next open.
   */
  async counts(file: string): Promise<TotalsReport> {
    return totalOf(await this.ask<InodeReport[]>('inodes', { path: file }))
  }

  /**
   * Resolves when an actor has settled (see Actor.settle) and the device has answered everything that it does not hold. A
   * thread may sleep only until the device serves its request. Such a request changes the device's counts, at the latest
   * when they are read for the second time.
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
   * Counts the WRITEs of a file in flight while the guest is at rest. The guest has sent everything it can. The device has
   * seen all of it when it gives the same answer twice.
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

  /** The device's counts for a file in words, for the evidence. Empty if the server counts nothing. */
  async countWords(file: string, words: (counts: TotalsReport) => string): Promise<string> {
    try {
      return words(await this.counts(file))
    } catch (error) {
      if (error instanceof NeedsOwnDevice) return ''
      throw error
    }
  }

  /** Resolves when a WRITE of a file is in flight. */
  async writeInFlight(file: string): Promise<void> {
    for (let looks = 0; (await this.writesInFlight(file)) === 0; looks++) {
      if (looks === FLIGHT_LOOKS) throw new NoAnswer(`no WRITE of ${file} comes`)
      await this.guest.output('sleep 0.01')
    }
  }

  /** Ends the actors and the faults. Ends the guest if that fails. */
  async leave(): Promise<void> {
    try {
      await this.holdNothing().catch((error) => {
        if (!(error instanceof NeedsOwnDevice)) throw error
      })
      for (const actor of this.actors) await actor.leave()
    } catch {
      await this.guest.kill()
    }
  }
}

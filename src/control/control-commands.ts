import { hasName } from '../basics/has-name.js'
import { nearestName } from '../basics/nearest-name.js'
import type { ShareClient } from '../share/share-client.js'
import type { ShareCommandName } from '../share/worker-messages.js'
import type { ControlRequest } from './control-request.js'
import { PacedAsking } from './paced-asking.js'
import { type ReportedShare, reportFailed, reportShare } from './share-reports.js'

/** A share as the control socket sees it. */
export interface ControlledShare {
  /** Its tag, or its number, counted from 0. */
  readonly name: string
  readonly directory: string
  readonly socketPath: string
  readonly client: ShareClient
}

/** The request is wrong; the message explains why. */
export class ControlError extends Error {
  override readonly name = 'ControlError'
}

/** Commands that a share's thread answers, each with its purpose. */
export const shareCommands: Readonly<Record<ShareCommandName, string>> = {
  state: 'connection, mount and guest of the share, the agreed INIT flags, the settings in force',
  figures: 'requests in flight, inodes, open files, descriptors and limits of the share now',
  inspect: 'on or off: count overlap and latencies, or stop',
  inodes: 'top=N,sort=overlap|writes|reads|opens,path=GLOB: what the guest does with each file',
  totals: 'what the guest does with all files together',
  latency: 'latencies by opcode, from the ring to the reply',
  reset: 'set the counts of inodes, totals and latency to zero',
  trace: 'on or off: record requests in the file of --trace, or stop',
  'fault-add': 'WORDS, see below: hold, delay, fail or shorten some requests',
  'fault-list': 'faults in force, how often each was applied, and the requests each holds',
  'fault-remove': 'NUMBER, as fault-list shows it: remove this fault',
  'fault-clear': 'remove every fault',
  release: 'release every held request',
  withhold: 'OPCODE+OPCODE: answer these with ENOSYS, and no others; none: answer all',
  init: 'on=FLAG+FLAG,off=FLAG+FLAG,minor=N: change the reply to the next INIT',
  limits:
    'show limits and what is used; iops=,bandwidth=,quota-bytes=,quota-inodes=: change them; recount=yes: count files anew',
  locks: 'locks kept on the host: which are held, and which process waits for one, since when',
  'locks-release': 'NUMBER, as locks shows it, or nothing for all: waiting processes get ECANCELED',
}

/** Commands that the main thread answers itself. */
export const ownCommands: Readonly<Record<string, string>> = {
  help: 'this list',
  shares: 'the shares of this process',
  report: 'all counts of every share; latencies are counted from the first report on',
  counts: 'requests and errors by opcode, since the start',
  set: 'OPTION=VALUE,...: change caching, rules or log-level; the answer says what waits for a mount',
}

/** Commands for the socket beside this one, which leads to a process that sees the host: see changesPath. */
export const changeCommands: Readonly<Record<string, string>> = {
  'share-add': 'WORDS of --share: add a share',
  'share-remove': 'NAME: end a share and remove its socket',
  reload: 'read the configuration file again, and apply what is different',
  replace:
    '[--with PROGRAM] [OPTION]...: another process goes on in the place of this one; guests notice a short pause',
}

/** The shares of the process; they come and go. */
export interface ControlledShares {
  /** The shares that serve. */
  readonly serving: readonly ControlledShare[]
  /** The shares that have ended by an error, and whose places nobody has taken. */
  readonly failed: readonly ControlledShare[]
  /** Sets options of the share that a thread serves. Rejects with an Error whose message is for the client. */
  set(client: ShareClient, argument: unknown): Promise<unknown>
}

/** Commands that only read. */
const reports = new Set<string>(['figures', 'inodes', 'totals', 'latency', 'state', 'fault-list', 'locks'])

/** Runs the commands of control clients. */
export class ControlCommands {
  private readonly asking = new WeakMap<ShareClient, PacedAsking>()

  constructor(private readonly running: ControlledShares) {}

  private get shares(): readonly ControlledShare[] {
    return this.running.serving
  }

  /** Runs a command. Rejects with an Error whose message is for the client. */
  async run(request: ControlRequest): Promise<unknown> {
    const { command } = request
    if (command === 'help') return { ...ownCommands, ...changeCommands, ...shareCommands }
    if (command === 'set') return this.set(request)
    if (hasName(changeCommands, command))
      throw new ControlError(`${command} is for the socket of changes, which is called PATH.live`)
    if (command === 'shares')
      return this.shares.map(({ name, directory, socketPath }) => ({ name, directory, socketPath }))
    if (command === 'report') return this.watchedReports()
    if (command === 'counts') return this.shareOf(request).client.counters.sum.report()
    if (hasName(shareCommands, command)) return this.ask(request, command)
    const known = Object.keys({ ...ownCommands, ...changeCommands, ...shareCommands })
    throw new ControlError(
      `unknown command '${command}'${nearestName(command, known)}: "ctl --help" lists them`,
    )
  }

  /** The level of the log is that of the process: it needs no share. */
  private set(request: ControlRequest): Promise<unknown> {
    const { share, argument } = request
    const options = typeof argument === 'object' && argument !== null ? Object.keys(argument) : []
    const [first] = this.shares
    const isOfProcess = share === undefined && options.length === 1 && options[0] === 'log-level'
    const { client } = isOfProcess && first !== undefined ? first : this.shareOf(request)
    return this.running.set(client, argument)
  }

  /** Reports every share that serves or has failed. */
  async reports(): Promise<readonly ReportedShare[]> {
    const { shares } = this
    const reports = await Promise.all(shares.map((share) => reportShare(share, this.askingOf(share.client))))
    // A share that has ended meanwhile has not answered, and is none that waits for the host.
    const serving = reports.filter((_, n) => shares[n]?.client.hasEnded === false)
    return [...serving, ...this.running.failed.map(reportFailed)]
  }

  /** Reports every share to somebody who looks again and again: latencies are counted meanwhile. */
  private watchedReports(): Promise<readonly ReportedShare[]> {
    for (const { client } of this.shares) client.timeForAWhile()
    return this.reports()
  }

  private async ask(request: ControlRequest, command: ShareCommandName): Promise<unknown> {
    const { client } = this.shareOf(request)
    return this.askingOf(client).ask(command, request.argument, reports.has(command))
  }

  private askingOf(client: ShareClient): PacedAsking {
    const asking = this.asking.get(client) ?? new PacedAsking(client)
    this.asking.set(client, asking)
    return asking
  }

  private shareOf({ share }: ControlRequest): ControlledShare {
    const names = this.shares.map(({ name }) => name).join(', ')
    const places = this.shares.map(({ name, directory }) => `${name} (${directory})`).join(', ')
    if (share === undefined) {
      const [only, ...others] = this.shares
      if (only === undefined || others.length > 0) throw new ControlError(`say which share: ${names}`)
      return only
    }
    const [found, ...others] = this.shares.filter(({ name }) => name === share)
    if (found === undefined)
      throw new ControlError(`no share is called '${share}', or it has ended. There are: ${places}`)
    if (others.length > 0) throw new ControlError(`several shares are called '${share}': ${names}`)
    return found
  }
}

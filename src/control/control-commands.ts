import { hasName } from '../basics/has-name.js'
import type { ShareThread } from '../share/share-thread.js'
import type { ShareCommandName } from '../share/worker-messages.js'
import { PacedAsking } from './paced-asking.js'

/** A share as the control socket knows it. */
export interface ControlledShare {
  /** Its tag, or its number from 0 on. */
  readonly name: string
  readonly directory: string
  readonly socketPath: string
  readonly thread: ShareThread
}

/** A request of a control client, after its line was parsed. */
export interface ControlRequest {
  readonly command: string
  /** Needed where there are several shares. */
  readonly share?: string | undefined
  readonly argument?: unknown
}

/** What is wrong with a request. */
export class ControlError extends Error {
  override readonly name = 'ControlError'
}

/** Commands that a share's thread answers, and what they are for. */
export const shareCommands: Readonly<Record<ShareCommandName, string>> = {
  state: 'what the share is doing: connected, mounted, guest, INIT flags agreed on, what is in force',
  inspect: 'true or false: count overlap and latencies, or stop',
  inodes: '{ top, sort: overlap|writes|reads|opens, path }: what the guest did with each inode',
  totals: 'the same of all inodes together',
  latency: 'latency by opcode, from seen on the ring to given back',
  reset: 'set the counts of inodes and latency to zero',
  'fault-add': '{ opcodes, path, probability, limit, hold, delay, errno, shortBytes, violation }: a fault',
  'fault-list': 'faults in force, how often they were applied and what they hold',
  'fault-remove': 'NUMBER: removes a fault',
  'fault-clear': 'remove every fault',
  release: 'let go every request that is held',
  withhold: '[ OPCODES ]: answer exactly these with ENOSYS',
  init: '{ on, off: [ INIT flags ], minor }: replace the outcome of the next INIT',
  trace: 'true or false: record requests, or stop',
  locks: 'locks that are kept on the host: who waits for what, since when, and what is held',
  'locks-release': 'NUMBER of a waiting lock, or nothing for all: its process gets ECANCELED',
}

/** Commands that the main thread answers by itself. */
export const ownCommands: Readonly<Record<string, string>> = {
  shares: 'the shares of this process',
  counts: 'requests and errors by opcode, since the start',
  help: 'this list',
}

/** Commands that change nothing. */
const reports = new Set<string>(['inodes', 'totals', 'latency', 'state', 'fault-list', 'locks'])

/** Carries out what control clients ask for. */
export class ControlCommands {
  private readonly asking: ReadonlyMap<ControlledShare, PacedAsking>

  constructor(private readonly shares: readonly ControlledShare[]) {
    this.asking = new Map(shares.map((share) => [share, new PacedAsking(share.thread)]))
  }

  /** Rejects with an Error whose message is for the client. */
  async run(request: ControlRequest): Promise<unknown> {
    const { command } = request
    if (command === 'help') return { ...ownCommands, ...shareCommands }
    if (command === 'shares')
      return this.shares.map(({ name, directory, socketPath }) => ({ name, directory, socketPath }))
    if (command === 'counts') return this.shareOf(request).thread.counters.report()
    if (hasName(shareCommands, command)) return this.ask(request, command)
    throw new ControlError(`unknown command '${command}': help lists them`)
  }

  private async ask(request: ControlRequest, command: ShareCommandName): Promise<unknown> {
    return this.asking.get(this.shareOf(request))?.ask(command, request.argument, reports.has(command))
  }

  private shareOf({ share }: ControlRequest): ControlledShare {
    const names = this.shares.map(({ name }) => name).join(', ')
    if (share === undefined) {
      const [only, ...others] = this.shares
      if (only === undefined || others.length > 0) throw new ControlError(`say which share: ${names}`)
      return only
    }
    const [found, ...others] = this.shares.filter(({ name }) => name === share)
    if (found === undefined || others.length > 0)
      throw new ControlError(`no share or several are called '${share}': there are ${names}`)
    return found
  }
}

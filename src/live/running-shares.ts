import type { Logger } from 'pino'
import { inTime } from '../basics/in-time.js'
import type { LogLevel } from '../config/options/process-options.js'
import { qemuArguments } from '../config/qemu-arguments.js'
import type { ControlledShare, ControlledShares } from '../control/control-commands.js'
import { LimitedLines } from '../log/limited-lines.js'
import type { LoadedProgram } from '../share/loaded-program.js'
import { ShareClient, type ShareEvents, type SharePlace } from '../share/share-client.js'
import type { ShareConfig } from '../share/share-config.js'
import type { LogLevel as LineLevel, ShareChangeName } from '../share/worker-messages.js'
import type { DescribedShare } from './messages.js'
import { planSet } from './set-command.js'
import type { ThreadChoice } from './thread-choice.js'

/** A share's thread that takes longer to make a change waits for the host's file system. */
const PATIENCE_MS = 5000

/** What the shares of a process have in common. */
export interface SharesParts {
  readonly log: Logger
  readonly logLevel: LogLevel
  /** O_PATH on /proc/self/fd. */
  readonly procFd: number
  /** The files that all shares together may have open. */
  readonly fileCount: number
  readonly threads: ThreadChoice
}

/** Where a share gets its files from. */
export type Place = Omit<SharePlace, 'procFd' | 'fdLimit'>

interface StartOptions {
  readonly added?: boolean | undefined
  readonly words?: string | undefined
  readonly isAsked?: boolean
  readonly named?: boolean
  readonly loaded?: LoadedProgram | undefined
}

/** What happens to the shares of a process. */
export interface SharesEvents {
  /** A share waits for front-ends. */
  listening(): void
  /** A share that was not removed has ended, or has failed. */
  ended(id: number, failed: boolean): void
}

interface RunningShare {
  readonly id: number
  readonly name: string
  readonly added: boolean
  /** The words of the command that added it. */
  readonly words: string | undefined
  /** A change asks for it, and hears why it cannot be served. */
  readonly isAsked: boolean
  readonly log: Logger
  readonly client: ShareClient
  config: ShareConfig
  /** It serves; a share that was only prepared can be given up. */
  begun: boolean
  removed: boolean
}

/** The shares of a process: they come and go. */
export class RunningShares implements ControlledShares {
  private readonly shares = new Map<number, RunningShare>()
  /** By socket. The next share that listens there takes the place of a failed one. */
  private readonly failures = new Map<string, ControlledShare>()
  private nextId = 0
  private logLevel: LogLevel
  /** The descriptors that each share may hold, in memory that their threads read. */
  private readonly fdLimit = new Int32Array(new SharedArrayBuffer(4))
  private timed = false

  constructor(
    private readonly parts: SharesParts,
    private readonly events: SharesEvents,
  ) {
    this.logLevel = parts.logLevel
  }

  /**
   * Starts a share, which stops at each milestone. A single share needs no name in its logs. `loaded`: the program of its
   * thread, if this process sees no files any more.
   */
  start(
    config: ShareConfig,
    place: Place,
    { added = false, words, isAsked = false, named = true, loaded }: StartOptions = {},
  ): number {
    const id = this.nextId++
    const name = config.tag ?? `${id}`
    const log = named ? this.parts.log.child({ share: name }) : this.parts.log
    log.level = this.parts.log.level
    const { procFd, threads } = this.parts
    const client = new ShareClient(
      threads.threadFor(config, loaded),
      config,
      { ...place, procFd, fdLimit: this.fdLimit.buffer },
      this.logLevel,
      this.eventsOf(id, log),
    )
    if (this.timed) client.counters.isTimed = true
    this.shares.set(id, {
      id,
      name,
      added,
      words,
      isAsked,
      log,
      client,
      config,
      begun: false,
      removed: false,
    })
    this.shareDescriptors()
    client.exited.then(() => this.forget(id))
    return id
  }

  /** Counts latencies of every share, those to come included. */
  time(): void {
    this.timed = true
    for (const { client } of this.all) client.counters.isTimed = true
  }

  /** Resolves when all shares have reached a milestone. Rejects if one fails. */
  async reached(...[milestone]: Parameters<ShareClient['reached']>): Promise<void> {
    await Promise.all(this.all.map(({ client }) => client.reached(milestone)))
  }

  allow(...[milestone]: Parameters<ShareClient['allow']>): void {
    for (const share of this.all) {
      share.client.allow(milestone)
      if (milestone === 'prepared') share.begun = true
    }
  }

  /** Makes a share that serves when it is begun. Resolves to its number. Rejects if it cannot be served. */
  async prepare(
    config: ShareConfig,
    place: Place,
    { added, words, loaded }: Pick<StartOptions, 'added' | 'words' | 'loaded'>,
  ): Promise<number> {
    const id = this.start(config, place, { added, words, isAsked: true, loaded })
    const { client } = this.get(id)
    try {
      await client.reached('loaded')
      client.allow('loaded')
      await client.reached('prepared')
    } catch (error) {
      this.forget(id)
      throw error
    }
    return id
  }

  begin(id: number): void {
    const share = this.get(id)
    share.begun = true
    share.client.allow('prepared')
  }

  /** Gives up the shares that were prepared and have not begun. */
  abort(): void {
    for (const share of this.all) {
      if (share.begun) continue
      share.removed = true
      share.client.giveUp()
    }
  }

  /** Stops a share. Resolves when its directory is given up; it is gone when its front-end leaves. */
  async remove(id: number): Promise<void> {
    const share = this.get(id)
    share.removed = true
    await this.made(share, 'remove', undefined, () => {
      share.log.info({ directory: share.config.directory }, 'share removed')
    })
  }

  async change(id: number, config: ShareConfig): Promise<void> {
    const share = this.get(id)
    await this.made(share, 'settings', config, () => {
      share.config = config
    })
  }

  /** Has a share make a change, then calls `then`. Rejects if it must be waited for; it makes the change all the same. */
  private async made(
    { name, client }: RunningShare,
    change: ShareChangeName,
    argument: unknown,
    then: () => void,
  ): Promise<void> {
    const answer = client.ask(change, argument).then(() => {
      then()
      return true
    })
    if (await inTime(answer, PATIENCE_MS)) return
    throw new Error(`the share ${name} waits for the host's file system, and changes when that answers`)
  }

  /** `ctl set`. Throws UserError, and changes nothing, if the argument is wrong. */
  async set(client: ShareClient, argument: unknown): Promise<object> {
    const share = this.all.find((other) => other.client === client)
    if (share === undefined) throw new Error('the share has ended')
    const { config, logLevel, atNextMount } = planSet(share.config, argument)
    if (logLevel !== undefined) this.setLogLevel(logLevel)
    await this.change(share.id, config)
    return { atNextMount }
  }

  setLogLevel(level: LogLevel): void {
    if (level === this.logLevel) return
    this.logLevel = level
    const pinoLevel = level === 'off' ? 'silent' : level
    this.parts.log.level = pinoLevel
    for (const { log, client } of this.all) {
      log.level = pinoLevel
      // A share that ends meanwhile logs nothing more.
      client.ask('log-level', level).catch(() => {})
    }
  }

  get level(): LogLevel {
    return this.logLevel
  }

  /** The shares that serve. */
  get serving(): readonly (DescribedShare & ControlledShare)[] {
    return this.all
      .filter(({ begun, removed }) => begun && !removed)
      .map((share) => ({
        ...controlled(share),
        id: share.id,
        added: share.added,
        words: share.words,
        config: share.config,
      }))
  }

  /** Of a share that goes by the name of one that serves, nothing more is said. */
  get failed(): readonly ControlledShare[] {
    const names = new Set(this.serving.map(({ name }) => name))
    return [...this.failures.values()].filter(({ name }) => !names.has(name))
  }

  /** The shares that are not gone, those that were removed included. */
  get clients(): readonly ShareClient[] {
    return this.all.map(({ client }) => client)
  }

  private get all(): readonly RunningShare[] {
    return [...this.shares.values()]
  }

  private get(id: number): RunningShare {
    const share = this.shares.get(id)
    if (share === undefined) throw new Error(`there is no share ${id}`)
    return share
  }

  private forget(id: number): void {
    if (this.shares.delete(id)) this.shareDescriptors()
  }

  /** Divides the descriptors evenly among the shares; those that are prepared count already. */
  private shareDescriptors(): void {
    const count = Math.max(1, this.shares.size)
    Atomics.store(this.fdLimit, 0, Math.floor(this.parts.fileCount / count))
  }

  private eventsOf(id: number, log: Logger): ShareEvents {
    const lines = new LimitedLines<LineLevel>((level, fields, text) => log[level](fields, text))
    return {
      log: (level, fields, text) => lines.line(level, fields, text),
      listening: (asyncIo) => {
        const { directory, socketPath } = this.get(id).config
        this.failures.delete(socketPath)
        // An inherited socket may have no path to give to QEMU.
        const fields = { directory, asyncIo }
        if (socketPath === '') log.info(fields, 'ready')
        else {
          const qemu = qemuArguments(this.get(id).config)
          log.info({ ...fields, qemu }, 'ready: attach this share with these QEMU arguments')
        }
        this.events.listening()
      },
      ended: () => this.ended(id, false),
      // The cause is a bug here, or a host that took the share away. The other shares go on.
      failed: (error) => {
        const share = this.shares.get(id)
        if (share?.begun === false && share.isAsked) return
        log.fatal({ err: error }, 'the share failed')
        this.ended(id, true)
      },
    }
  }

  private ended(id: number, failed: boolean): void {
    const share = this.shares.get(id)
    if (share === undefined || share.removed) return
    share.removed = true
    if (failed) this.failures.set(share.config.socketPath, controlled(share))
    this.events.ended(id, failed)
  }
}

function controlled({ name, config: { directory, socketPath }, client }: RunningShare): ControlledShare {
  return { name, directory, socketPath, client }
}

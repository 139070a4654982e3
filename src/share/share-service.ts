import {
  AsyncBackend,
  type AsyncBackendOptions,
  type Backend,
  EventLoop,
  FaultLog,
  Listener,
  type Logger,
  ProtocolError,
  StateError,
  Wakeup,
} from 'vhost-user-ts'
import type { FileTree } from 'virtio-fs-ts'
import { Counters, type FileSystem, type InitAgreement } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import { reportIoModes } from '../io-mode/agreement-report.js'
import { OpenRules } from '../io-mode/open-rules.js'
import { closeDescriptor } from '../passthrough/descriptors.js'
import { ioctlCaller } from '../passthrough/files/ioctls.js'
import { makeTableMemory, type TableMemory } from '../passthrough/shared/table-memory.js'
import { Arrivals } from './arrivals.js'
import { CommandError } from './command-arguments.js'
import { CommandPort } from './command-port.js'
import { type HandedShare, monotonicMs } from './hand-over.js'
import { HandingOver } from './handing-over.js'
import { describeInitOverride } from './init-override.js'
import { makeFsDevice, makeOwnDevice, type ShareDevice } from './make-fs-device.js'
import { oneThreadNow } from './one-thread-reasons.js'
import type { QueueProgram } from './queue-program.js'
import { type QueueOwner, QueueThreads } from './queue-threads.js'
import { figuresOf, type ReportedShare, stateOf } from './reported-share.js'
import { BlockingThread, NodeThread, type ServingThread } from './serving-thread.js'
import { ShareCommands } from './share-commands.js'
import type { ShareConfig } from './share-config.js'
import type { ShareHost } from './share-host.js'
import { levelOf, makeLogger } from './share-logger.js'
import type { ShareState } from './share-state.js'
import { ShareTrace } from './share-trace.js'
import type { HandOver, WorkerCommand, WorkerMessage, WorkerStart } from './worker-messages.js'

/** Serves one share on the current thread: owns its socket, guest memory, rings and FUSE session. */
export class ShareService {
  private readonly loop = new EventLoop()
  private readonly logger: Logger
  private readonly faults: FaultLog
  private readonly rules: OpenRules
  private readonly share: ShareDevice
  /** Undefined for a share with one thread. */
  private readonly queueThreads: QueueThreads | undefined
  /** Undefined until it comes from another process. */
  private listener: Listener | undefined
  private readonly handingOver: HandingOver
  private readonly commands: ShareCommands
  private readonly trace: ShareTrace
  private agreement: InitAgreement | undefined
  private connected = false
  private readonly arrivals: Arrivals
  private backend: Backend | AsyncBackend | undefined
  /** The settings in force; a change replaces them. */
  private config: ShareConfig
  /** True once the share is removed: it serves no further front-end. */
  private removed = false
  /** In Node's loop: the end of its removal. */
  private removing: Promise<object> | undefined
  /** The index of the least severe level to log, or -1 for none. */
  private leastLevel: number
  /** In Node's loop: ends the share because of a bug. */
  private fail: (error: unknown) => void = () => {}

  constructor(
    private readonly start: WorkerStart,
    private readonly host: ShareHost,
    /** A module's file system; undefined: serve the share's directory. */
    private readonly own: FileTree | FileSystem | undefined,
    /** For further threads; undefined: the share has one. */
    queueProgram: QueueProgram | undefined,
  ) {
    const { config, logLevel, commandPort, commandFd } = start
    this.config = config
    this.leastLevel = levelOf(logLevel)
    this.logger = makeLogger(
      () => this.leastLevel,
      (message) => this.tell(message),
    )
    this.faults = new FaultLog(this.logger)
    this.arrivals = new Arrivals(this.loop, this.faults)
    this.rules = new OpenRules(config, config.rules)
    if (start.listenFd >= 0) this.listener = new Listener(start.listenFd)
    const tables = queueProgram && makeTableMemory(config.queueThreads)
    this.share = this.makeDevice(tables)
    if (tables !== undefined && queueProgram !== undefined)
      this.queueThreads = this.makeThreads(tables, queueProgram)
    this.handingOver = this.makeHandingOver()
    const { interceptor } = this.share
    const tell = (message: WorkerMessage) => this.tell(message)
    this.trace = new ShareTrace(config, start.traceAcks, interceptor, tell, this.faults)
    this.commands = new ShareCommands(
      this.share,
      config.unsafeFaults,
      (on) => this.trace.turn(on),
      () => stateOf(this.reported),
      () => figuresOf(this.reported),
    )
    const guarded = (work: () => void) => this.guarded(work)
    const port = new CommandPort(commandPort, (command) => this.carryOut(command), tell, guarded)
    new Wakeup(commandFd).receive(this.loop, () => this.guarded(() => port.run()))
    this.prepare()
  }

  /**
   * Serves front-ends one after the other; returns when the last has left. Blocks, unless a module's promises or other work of
   * the thread need Node.
   */
  async serve(): Promise<void> {
    const thread = this.makeThread()
    this.backend = thread.backend
    try {
      await (thread instanceof NodeThread ? this.serveFromNode(thread) : this.serveFrontEnds(thread))
      this.queueThreads?.end()
    } finally {
      // A thread must not be left behind that nobody can end.
      this.queueThreads?.abandon()
    }
    if (!this.removed) {
      this.listening.close()
      this.share.close()
    }
    this.loop.close()
    this.tell({ type: 'ended' })
  }

  private tell(message: WorkerMessage): void {
    this.host.tell(message)
  }

  /** A bug ends this share alone, if the thread has others. */
  private guarded(work: () => void): void {
    if (!this.isInNodeLoop) {
      work()
      return
    }
    try {
      work()
    } catch (error) {
      this.fail(error)
    }
  }

  /** Handles what is ready, if Node's loop waits. */
  private readonly turn = () => this.guarded(() => this.loop.wait(0))

  private get isInNodeLoop(): boolean {
    return this.block === undefined
  }

  /** How the thread waits. Undefined: in Node's loop, for the promises of a module or beside other work. */
  private get block(): ShareHost['block'] {
    return this.own === undefined ? this.host.block : undefined
  }

  /** Gives up what a share holds that has failed: the thread may have others, which go on for long. */
  private async abandon(backend: AsyncBackend, serving: Promise<void>): Promise<void> {
    if (!this.removed) this.listener?.close()
    this.removed = true
    this.arrivals.close()
    this.arrivals.stopWaiting()
    backend.stop()
    try {
      await serving.catch(() => {})
      this.share.close()
      this.loop.close()
    } catch (error) {
      this.logger.error({ reason: messageOf(error) }, 'the share that failed leaves descriptors behind')
    }
  }

  private get listening(): Listener {
    if (this.listener === undefined) throw new Error('the listening socket has not come yet')
    return this.listener
  }

  private tellListening(): void {
    this.tell({ type: 'listening', engine: this.share.device.backgroundEngine })
  }

  /** Ends a share that has not begun to serve. */
  giveUp(): void {
    this.queueThreads?.end()
    this.share.close()
    this.listener?.close()
    this.loop.close()
  }

  private makeThread(): ServingThread {
    const { host, arrivals, loop, block } = this
    const parts = { device: this.share.device, options: this.backendOptions, arrivals, loop }
    return block === undefined ? new NodeThread(parts, host, this.turn) : new BlockingThread(parts, block)
  }

  private async serveFrontEnds(thread: ServingThread): Promise<void> {
    const { successionFd } = this.start
    const { state } = this.share
    const hasServed =
      state !== undefined && successionFd !== undefined && (await this.goOn(thread, state, successionFd))
    if (successionFd === undefined) this.tellListening()
    if (hasServed && (!this.config.keepAlive || this.removed)) return
    do {
      const fd = await thread.accept(this.listening)
      if (this.removed) return
      this.arrived()
      await thread.serve(fd)
      this.left()
    } while (this.config.keepAlive && !this.removed)
  }

  /** Goes on for another process of this host. Resolves to true if a front-end was connected, and has left. */
  private async goOn(thread: ServingThread, state: ShareState, successionFd: number): Promise<boolean> {
    let hasBegun = false
    try {
      const share = await thread.takeOver(state, successionFd)
      closeDescriptor(successionFd)
      this.listener = new Listener(share.listenFd)
      this.connected = share.connection !== undefined
      await thread.goOn(share.connection, () => {
        hasBegun = true
        this.tellGoingOn(share)
      })
      if (this.connected) this.left()
      return share.connection !== undefined
    } catch (error) {
      // Once this process serves, there is nobody to refuse to.
      if (hasBegun || !isTakeOverRefusal(error)) throw error
      this.tell({ type: 'refused', reason: error.message })
      // This process must not touch what it shares with the one that goes on.
      return await thread.standStill()
    }
  }

  private tellGoingOn({ suspendedMs }: HandedShare): void {
    this.tellListening()
    const pauseMs = Math.round(monotonicMs() - suspendedMs)
    this.logger.info({ pauseMs }, 'the share goes on in this process')
  }

  /** Serves until the share ends. A bug elsewhere on the thread that concerns this share ends it, too. */
  private async serveFromNode(thread: NodeThread): Promise<void> {
    const failed = new Promise<never>((_, reject) => {
      this.fail = reject
    })
    const serving = this.serveFrontEnds(thread)
    try {
      await Promise.race([failed, serving])
      await this.removing
    } catch (error) {
      void this.abandon(thread.backend, serving)
      throw error
    }
  }

  private get backendOptions(): AsyncBackendOptions {
    const { pollUs } = this.start.config
    const usesPromises = this.own !== undefined
    const { neighbours } = this.host
    return {
      pollUs,
      logger: this.logger,
      loop: this.loop,
      usesPromises,
      ...(neighbours === undefined ? {} : { neighbours }),
      // The host's calls end, or are given up, in their own time.
      ...(usesPromises ? {} : { stopTimeoutMs: Number.POSITIVE_INFINITY }),
      ...(this.queueThreads === undefined ? {} : { queueKeeper: this.queueThreads }),
      ...leftOutMarks(),
    }
  }

  private makeHandingOver(): HandingOver {
    const { share, arrivals, loop, queueThreads } = this
    const service = this
    return new HandingOver({
      state: share.state,
      arrivals,
      loop,
      queueThreads,
      get backend() {
        return service.backend
      },
      get listener() {
        return service.listener
      },
    })
  }

  private makeThreads(tables: TableMemory, program: QueueProgram): QueueThreads {
    const { start, loop, logger, share } = this
    const service = this
    const owner: QueueOwner = {
      rootFd: share.rootFd,
      // It is asked for when the share serves.
      get backend() {
        return service.backend as Backend | AsyncBackend
      },
      get agreement() {
        return share.session.agreed
      },
      get config() {
        return service.config
      },
      get oneThreadReason() {
        return oneThreadNow(share)
      },
    }
    const threads = new QueueThreads(start, tables, owner, loop, logger, program)
    threads.logLevel = this.leastLevel
    share.session.beforeChange = () => threads.takeBack({ memory: false, session: true })
    return threads
  }

  private arrived(): void {
    this.logger.info({}, 'front-end connected')
    this.connected = true
  }

  private left(): void {
    this.connected = false
    this.agreement = undefined
    this.logger.info({}, 'front-end left')
  }

  private makeDevice(tables: TableMemory | undefined): ShareDevice {
    const { config, root, procFd, fdLimit, counters, isCounted } = this.start
    const observer = {
      agreed: (agreement: InitAgreement) => this.agreed(agreement),
      fault: (kind: string, fields: object) => this.faults.warn(kind, fields),
    }
    const { own } = this
    const counted = new Counters(counters[0])
    if (own !== undefined) return makeOwnDevice(config, own, counted, this.rules, observer)
    const place = {
      root,
      procFd,
      fdLimit: new Int32Array(fdLimit),
      counters: counted,
      isCounted,
      shared: tables && {
        memory: tables,
        thread: 0,
        isAlone: () => this.queueThreads?.isLending !== true,
        needsOneThread: (reason: string) => this.queueThreads?.useOneThreadSoon(reason),
        checkOthers: () => this.queueThreads?.checkAlive(),
      },
    }
    return makeFsDevice(config, place, this.rules, observer)
  }

  /** Applies the settings asked for at start, before the first front-end connects. */
  private prepare(): void {
    const { config } = this.start
    const { interceptor, session } = this.share
    if (config.inspect) interceptor.inspect(true)
    if (config.trace !== undefined) this.trace.turn(true)
    for (const fault of config.faults) interceptor.addFault(fault)
    session.initOverride = config.initOverride
    for (const opcode of config.withhold) session.withheld.set(opcode, 0)
  }

  /**
   * Stops listening, and answers everything from now on with an error, until the front-end leaves. In Node's loop a promise,
   * which waits for what the host carries out.
   */
  private remove(): object | Promise<object> {
    const { listening: listener, backend } = this
    if (this.removed) throw new CommandError('the share is removed already')
    this.removed = true
    this.arrivals.close()
    this.loop.remove(listener.fd)
    listener.close()
    const { connected } = this
    this.queueThreads?.end()
    if (!(backend instanceof AsyncBackend)) {
      this.share.close()
      return { connected }
    }
    this.share.refuse()
    this.removing = backend.settle().then(() => {
      this.share.close()
      this.arrivals.stopWaiting()
      return { connected }
    })
    return this.removing
  }

  /** Replaces the settings. Some take effect at the next mount. */
  private changeSettings(config: ShareConfig): object {
    this.share.change(config)
    this.config = config
    return {}
  }

  private agreed(agreement: InitAgreement): void {
    this.agreement = agreement
    this.queueThreads?.lendSoon()
    const { config } = this
    const report = reportIoModes(agreement, { ...config, directIo: this.rules.everDirect })
    const flags = `0x${agreement.flags.toString(16)}`
    this.logger.info({ ...report, flags, ioctl: ioctlCaller }, 'guest mounted the share')
    const override = describeInitOverride(this.share.session.initOverride)
    if (override !== undefined) this.logger.warn(override, 'the outcome of INIT was overridden')
  }

  /** The parts that reports are made of. */
  private get reported(): ReportedShare {
    const { share, trace, backend, queueThreads, agreement, connected, config, host } = this
    const isAlone = host.neighbours === undefined
    return { share, trace, backend, queueThreads, agreement, connected, config, isAlone }
  }

  private carryOut(command: WorkerCommand): unknown {
    const { queueThreads, share } = this
    if (queueThreads === undefined) return this.carryOutAlone(command)
    const { name } = command
    if (lastingChanges.includes(name)) queueThreads.takeBack({ memory: false, session: false })
    else if (!readingCommands.includes(name) && !queueThreads.takeBackUnlessStuck())
      throw new CommandError('a thread of the share waits for the host’s file system: ask again')
    share.device.enter?.()
    try {
      return this.carryOutAlone(command)
    } finally {
      share.device.leave?.()
    }
  }

  private carryOutAlone({ name, argument }: WorkerCommand): unknown {
    switch (name) {
      case 'remove':
        return this.remove()
      case 'settings':
        // The main thread sends a whole, checked configuration.
        return this.changeSettings(argument as ShareConfig)
      case 'log-level':
        this.leastLevel = levelOf(String(argument))
        if (this.queueThreads !== undefined) this.queueThreads.logLevel = this.leastLevel
        return {}
      case 'hand-over':
        // The main thread sends a HandOver.
        return this.handingOver.send(argument as HandOver)
      case 'resume':
        return this.handingOver.serveOn()
      default:
        return this.commands.run(name, argument)
    }
  }
}

/** Changes that are made whatever happens, when the host’s file system answers. */
const lastingChanges: readonly WorkerCommand['name'][] = ['settings']

/** Commands that other threads need not stand still for. */
const readingCommands: readonly WorkerCommand['name'][] = [
  'state',
  'figures',
  'inodes',
  'totals',
  'latency',
  'fault-list',
  'locks',
  'log-level',
  // It waits for the threads by itself, and not for long.
  'hand-over',
  // The threads stand still, or have gone on.
  'resume',
  // It has ended them.
  'remove',
]

/** Returns true for what is wrong with a share that another process hands over. */
function isTakeOverRefusal(error: unknown): error is Error {
  return error instanceof StateError || error instanceof ProtocolError || error instanceof RangeError
}

/** Tests name marks of the dirty log to leave out, and must then find pages that were not marked. */
function leftOutMarks(): Pick<AsyncBackendOptions, 'leftOutMarks'> {
  const name = process.env['VIRTIOFSD_TS_LEFT_OUT_MARKS']
  return name === 'reply' || name === 'data' || name === 'used ring' ? { leftOutMarks: name } : {}
}

import type { Logger } from 'pino'
import { messageOf } from './basics/errors.js'
import { canChange } from './config/can-change.js'
import { ControlCommands } from './control/control-commands.js'
import { serveControl } from './control/control-server.js'
import { ChangeReceiver, loadProgram } from './live/change-receiver.js'
import { Predecessor } from './live/predecessor.js'
import { RunningShares } from './live/running-shares.js'
import { keyOf } from './live/share-key.js'
import { placeOf } from './live/succession.js'
import { type Successor, threadSockets } from './live/successor.js'
import { ThreadChoice } from './live/thread-choice.js'
import { makeLogger } from './log/log.js'
import type { MetricsService } from './metrics/metrics-service.js'
import type { ServerPlan } from './sandbox/launch.js'
import { exitNow, limitFiles, limitSystemCalls, reserveRings, writeNow } from './sandbox/own-process.js'
import { closeDebugger, type EndingSignal, obeySignals } from './sandbox/signals.js'
import { countedQuota } from './share/counted-quota.js'
import type { LoadedProgram } from './share/loaded-program.js'
import { MainThread } from './share/share-threads.js'
import type { ListeningSockets } from './sockets/listening-sockets.js'
import { PacketSocket } from './sockets/packet-socket.js'
import { ServiceManager } from './sockets/service-manager.js'

const EXIT_SUCCESS = 0
const EXIT_FAILURE = 1

/** As native/launcher/keeper.h has it. */
const EXIT_REPLACED = 75

/** Open files reserved for the process itself, out of the guests' reach. */
const RESERVED_FILES = 256

/** Shares that can be added to a sealed process and still have an io_uring each; further ones use helper threads. */
const SPARE_RINGS = 8

/**
 * The main thread's part: starts the shares' threads, confines the process once everything is loaded, and ends it.
 */
class Server {
  private readonly shares: RunningShares
  private listening = 0
  private status = EXIT_SUCCESS

  constructor(
    private readonly plan: ServerPlan,
    private readonly links: ServerLinks,
    private readonly sockets: ListeningSockets,
    private readonly log: Logger,
    private readonly manager: ServiceManager,
    private readonly flushLog: () => void,
  ) {
    const { configuration } = plan
    const fileCount = limitFiles(configuration.fileLimit) - RESERVED_FILES
    const { logLevel, shareThreads, shares } = configuration
    const main = this.mainCanServe ? new MainThread(shares.length === 1) : undefined
    const threads = new ThreadChoice(shareThreads, shares, main)
    this.shares = new RunningShares(
      { log, logLevel, procFd: links.procFd, fileCount, threads },
      { listening: () => this.listens(), ended: (id, failed) => this.end(id, failed) },
    )
  }

  /** Starts serving. Calls `leaveOldRoot`, which takes the host's file system away, after all code is loaded. */
  start(leaveOldRoot: () => void): void {
    const { configuration, confinement, counted } = this.plan
    const { shares } = configuration
    this.sayWhatIsDifferent()
    const succession = this.links.successor === undefined ? [] : threadSockets(shares.length)
    for (const [n, config] of shares.entries()) {
      const place = {
        root: confinement.roots[n] ?? config.directory,
        trace: confinement.traces[n],
        // There is a socket for each share, unless it comes from the process before.
        listenFd: this.sockets.shareFds[n] ?? -1,
        successionFd: succession[n]?.own,
        isCounted: counted.includes(keyOf(config)),
      }
      this.shares.start(config, place, { named: shares.length > 1 })
    }
    const started = this.confine(
      leaveOldRoot,
      succession.map(({ other }) => other),
    )
    started.catch((error: Error) => {
      this.links.successor?.refuse(messageOf(error))
      this.log.fatal({ err: error }, 'cannot start')
      this.exit(EXIT_FAILURE)
    })
  }

  /**
   * True if this thread has nothing else to do that could not wait while the host holds a share up: then it can serve shares,
   * in half the memory. The launcher kills a process that does not end in time.
   */
  private get mainCanServe(): boolean {
    const { configuration, confinement } = this.plan
    const { controlFd, metricsFd } = this.sockets
    return (
      !canChange(configuration) &&
      !this.isWatched &&
      confinement.sandbox !== 'none' &&
      !isProfiled &&
      controlFd === undefined &&
      metricsFd === undefined
    )
  }

  /** The number of threads of queues that the shares may start. */
  private get laterThreads(): number {
    return this.plan.configuration.shares.reduce((sum, { queueThreads }) => sum + queueThreads - 1, 0)
  }

  /** True if a service manager ends a process whose main thread is silent, which a host that hangs must not cause. */
  private get isWatched(): boolean {
    return (this.plan.managerLink?.watchdogMs ?? 0) > 0
  }

  /** Logs the options that have no effect, and other differences from what was asked for. */
  private sayWhatIsDifferent(): void {
    const { syslog, ignored, shares, dangers } = this.plan.configuration
    if (syslog !== undefined && this.plan.syslogFd === undefined) {
      this.log.warn({ socket: syslog }, 'no system log listens there: messages go to standard error')
    }
    for (const [n, share] of shares.entries())
      for (const danger of dangers[n] ?? []) this.log.warn({ directory: share.directory }, danger)
    for (const { option, reason } of ignored) {
      this.log.info({ option }, `accepted for virtiofsd, without effect: ${reason}`)
    }
  }

  /**
   * Confines the process in this order: the threads load their code, the old root goes, the threads open what they
   * serve, system calls are given up, the threads serve.
   */
  private async confine(leaveOldRoot: () => void, successionFds: readonly number[]): Promise<void> {
    const { shares } = this
    const { seccomp } = this.plan.configuration
    const metrics = await this.loadMetrics()
    await shares.reached('loaded')
    // Loads the time zone, which Node reads from files on first use.
    new Date().getTimezoneOffset()
    closeDebugger()
    const { handoverFd } = this.links
    const program = canChange(this.plan.configuration) ? loadProgram() : undefined
    leaveOldRoot()
    shares.allow('loaded')
    await shares.reached('prepared')
    const { successor } = this.links
    if (successor === undefined) this.serveControl(metrics)
    if (seccomp !== 'none') reserveRings((program === undefined ? 0 : SPARE_RINGS) + this.laterThreads)
    limitSystemCalls(seccomp)
    this.logConfinement()
    shares.allow('prepared')
    if (successor !== undefined) {
      const keys = this.plan.configuration.shares.map(keyOf)
      await successor.take(keys, successionFds, shares.reached('taken'))
      shares.allow('taken')
      this.serveControl(metrics)
    }
    if (handoverFd !== undefined) this.receiveChanges(handoverFd, program)
  }

  private receiveChanges(handoverFd: number, program: LoadedProgram | undefined): void {
    const { shares, log, plan, sockets } = this
    const estate = () => {
      const configs = shares.serving.map(({ config }) => config)
      const place = placeOf({ ...plan.configuration, shares: configs })
      const counted = configs.filter((config) => countedQuota(config) !== undefined).map(keyOf)
      return { place, sockets, mountsFd: this.links.mountsFd, counted }
    }
    new ChangeReceiver(new PacketSocket(handoverFd), shares, program, log, plan, {
      predecessor: new Predecessor(shares, estate, log),
      replaced: () => this.replaced(),
    })
  }

  /** Ends the process, whose successor serves: nothing of what both share may be touched. */
  private replaced(): never {
    this.log.info({}, 'another process serves in the place of this one')
    this.flushLog()
    exitNow(EXIT_REPLACED)
  }

  private logConfinement(): void {
    const { sandbox, capabilities, userNamespace } = this.plan.confinement
    const { seccomp } = this.plan.configuration
    const privileges =
      sandbox === 'none' ? { capabilities } : { userNamespace: userNamespace !== undefined, capabilities }
    this.log.info({ sandbox, ...privileges, seccomp }, 'confined')
  }

  /** Loads what serves metrics, if they are asked for. */
  private async loadMetrics(): Promise<MetricsService | undefined> {
    if (this.sockets.metricsFd === undefined) return undefined
    this.shares.time()
    return (await import('./metrics/metrics-service.js')).loadMetrics()
  }

  private serveControl(metrics: MetricsService | undefined): void {
    const { controlFd, metricsFd } = this.sockets
    const { shares } = this
    const commands = new ControlCommands(shares)
    if (controlFd !== undefined) serveControl(controlFd, commands)
    if (metricsFd !== undefined) metrics?.serve(metricsFd, () => commands.reports())
  }

  /** Carries out a signal. With a configuration file, SIGHUP is for the keeper: see native/launcher/keeper.c. */
  obey(signal: EndingSignal): void {
    if (signal !== 'SIGHUP' || this.plan.configuration.configFile === undefined) this.stop(signal)
  }

  /** SIGUSR2 is for the keeper, if there is one. */
  refuseReplacement(): void {
    if (this.links.handoverFd !== undefined) return
    this.log.warn(
      {},
      'this process cannot be replaced: it was started without a sandbox, --control-socket and --config',
    )
  }

  /** Ends the process because of a signal. */
  stop(signal: EndingSignal): never {
    this.log.info({ signal }, 'ending')
    return this.exit(EXIT_SUCCESS)
  }

  /** Ends the process because of a bug. */
  fail(error: Error): never {
    this.log.fatal({ err: error }, 'cannot go on')
    return this.exit(EXIT_FAILURE)
  }

  private listens(): void {
    if (++this.listening === this.plan.configuration.shares.length) this.tellReady()
  }

  private tellReady(): void {
    const { shares } = this.plan.configuration
    this.manager.ready(`Serving ${shares.map(({ directory }) => directory).join(', ')}`)
  }

  /** A share has ended by itself. The process ends with the last one. */
  private end(id: number, failed: boolean): void {
    if (failed) this.status = EXIT_FAILURE
    // Shares that were added later have higher numbers, and their sockets belong to the broker.
    if (id < this.plan.configuration.shares.length) this.sockets.releaseShare(id)
    if (this.shares.serving.length > 0) return
    if (isProfiled) this.exitAfterThreads()
    else this.exit(this.status)
  }

  /** Lets the threads end by themselves, because Node's profiler writes a thread's file only then. */
  private async exitAfterThreads(): Promise<void> {
    this.sockets.releaseAll()
    await Promise.all(this.shares.clients.map(({ exited }) => exited))
    process.exit(this.status)
  }

  /** Ends the process at once: a share's thread may be blocked in the host's file system and cannot be waited for. */
  private exit(status: number): never {
    this.manager.stopping()
    this.sockets.releaseAll()
    this.flushLog()
    exitNow(status)
  }
}

/** The descriptors that this process began with, besides its sockets. */
export interface ServerLinks {
  /** O_PATH on /proc/self/fd. */
  readonly procFd: number
  /** Leads to the helpers that change this process; undefined: it cannot be changed. */
  readonly handoverFd: number | undefined
  /** The mount namespace in which the shared directories are mounted; undefined: that of the host. */
  readonly mountsFd: number | undefined
  /** Takes everything over from the process that serves; undefined: this one begins by itself. */
  readonly successor: Successor | undefined
}

/**
 * Starts to serve. Obeys signals from the first moment. Makes the sockets last, and removes them if the start fails.
 * Throws UserError if a socket cannot be made.
 */
export function startServer(
  plan: ServerPlan,
  links: ServerLinks,
  makeSockets: () => ListeningSockets,
  leaveOldRoot: () => void,
): void {
  const { configuration, syslogFd, managerLink } = plan
  let obey = (_signal: EndingSignal): void => exitNow(EXIT_SUCCESS)
  obeySignals((signal) => obey(signal))
  const { log, flush } = makeLogger(configuration.logLevel, syslogFd, writeNow)
  const manager = new ServiceManager(managerLink)
  const sockets = makeSockets()
  const server = new Server(plan, links, sockets, log, manager, flush)
  obey = (signal) => server.obey(signal)
  process.on('SIGUSR2', () => server.refuseReplacement())
  process.on('uncaughtException', (error) => server.fail(error))
  try {
    server.start(leaveOldRoot)
  } catch (error) {
    sockets.releaseAll()
    throw error
  }
}

const isProfiled = process.execArgv.some((option) => /^--(cpu|heap)-prof/.test(option))

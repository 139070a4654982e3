import type { Logger } from 'pino'
import type { Configuration } from './config/configuration.js'
import { qemuArguments } from './config/qemu-arguments.js'
import { ControlCommands } from './control/control-commands.js'
import { serveControl } from './control/control-server.js'
import { LimitedLines } from './log/limited-lines.js'
import { makeLogger } from './log/log.js'
import type { MetricsService } from './metrics/metrics-service.js'
import type { Confinement } from './sandbox/confinement.js'
import type { ServerPlan } from './sandbox/launch.js'
import { exitNow, limitFiles, limitSystemCalls, writeNow } from './sandbox/own-process.js'
import { closeDebugger, type EndingSignal, obeySignals } from './sandbox/signals.js'
import type { ShareConfig } from './share/share-config.js'
import { type ShareEvents, ShareThread } from './share/share-thread.js'
import type { LogLevel } from './share/worker-messages.js'
import type { ListeningSockets } from './sockets/listening-sockets.js'
import { ServiceManager } from './sockets/service-manager.js'

const EXIT_SUCCESS = 0
const EXIT_FAILURE = 1

/** Open files reserved for the process itself, out of the guests' reach. */
const RESERVED_FILES = 256

/**
 * The main thread's part: starts the shares' threads, confines the process once everything is loaded, and ends it.
 */
class Server {
  private readonly threads: ShareThread[] = []
  private running = 0
  private listening = 0
  private status = EXIT_SUCCESS

  constructor(
    private readonly configuration: Configuration,
    private readonly confinement: Confinement,
    private readonly sockets: ListeningSockets,
    private readonly log: Logger,
    private readonly logsToSyslog: boolean,
    private readonly manager: ServiceManager,
    /** O_PATH on /proc/self/fd. */
    private readonly procFd: number,
    private readonly flushLog: () => void,
  ) {}

  /** Starts serving. Calls `leaveOldRoot`, which takes the host's file system away, after all code is loaded. */
  start(leaveOldRoot: () => void): void {
    const { shares } = this.configuration
    const fdLimit = Math.floor((limitFiles(this.configuration.fileLimit) - RESERVED_FILES) / shares.length)
    this.sayWhatIsDifferent()
    this.running = shares.length
    for (const [n, config] of shares.entries()) this.threads.push(this.startThread(config, n, fdLimit))
    this.confine(leaveOldRoot).catch((error: Error) => {
      this.log.fatal({ err: error }, 'cannot start')
      this.exit(EXIT_FAILURE)
    })
  }

  /** Logs the options that have no effect, and other differences from what was asked for. */
  private sayWhatIsDifferent(): void {
    const { syslog, ignored, shares, dangers } = this.configuration
    if (syslog !== undefined && !this.logsToSyslog) {
      this.log.warn({ socket: syslog }, 'no system log listens there: messages go to standard error')
    }
    for (const [n, share] of shares.entries())
      for (const danger of dangers[n] ?? []) this.log.warn({ directory: share.directory }, danger)
    for (const { option, reason } of ignored) {
      this.log.info({ option }, `accepted for virtiofsd, without effect: ${reason}`)
    }
  }

  /** Starts a share's thread, which waits until this process is confined. */
  private startThread(config: ShareConfig, n: number, fdLimit: number): ShareThread {
    const { roots, traces } = this.confinement
    // A single share needs no name in its logs.
    const log =
      this.configuration.shares.length === 1 ? this.log : this.log.child({ share: nameOf(config, n) })
    const place = {
      root: roots[n] ?? config.directory,
      trace: traces[n],
      // There is a socket for each share.
      listenFd: this.sockets.shareFds[n] as number,
      procFd: this.procFd,
      fdLimit,
    }
    return new ShareThread(config, place, this.configuration.logLevel, this.eventsOf(config, n, log))
  }

  /**
   * Confines the process in this order: the threads load their code, the old root goes, the threads open what they
   * serve, system calls are given up, the threads serve.
   */
  private async confine(leaveOldRoot: () => void): Promise<void> {
    const { threads } = this
    const metrics = await this.loadMetrics()
    await Promise.all(threads.map((thread) => thread.reached('loaded')))
    // Loads the time zone, which Node reads from files on first use.
    new Date().getTimezoneOffset()
    closeDebugger()
    leaveOldRoot()
    for (const thread of threads) thread.allow('loaded')
    await Promise.all(threads.map((thread) => thread.reached('prepared')))
    this.serveControl(metrics)
    limitSystemCalls(this.configuration.seccomp)
    this.logConfinement()
    for (const thread of threads) thread.allow('prepared')
  }

  private logConfinement(): void {
    const { sandbox, capabilities, userNamespace } = this.confinement
    const { seccomp } = this.configuration
    const privileges =
      sandbox === 'none' ? { capabilities } : { userNamespace: userNamespace !== undefined, capabilities }
    this.log.info({ sandbox, ...privileges, seccomp }, 'confined')
  }

  /** Loads what serves metrics, if they are asked for. */
  private async loadMetrics(): Promise<MetricsService | undefined> {
    if (this.sockets.metricsFd === undefined) return undefined
    for (const { counters } of this.threads) counters.isTimed = true
    return (await import('./metrics/metrics-service.js')).loadMetrics()
  }

  private serveControl(metrics: MetricsService | undefined): void {
    const { controlFd, metricsFd } = this.sockets
    const controlled = this.configuration.shares.map((config, n) => ({
      name: nameOf(config, n),
      directory: config.directory,
      socketPath: config.socketPath,
      // `start` has started the thread.
      thread: this.threads[n] as ShareThread,
    }))
    const commands = new ControlCommands(controlled)
    if (controlFd !== undefined) serveControl(controlFd, commands)
    if (metricsFd !== undefined) metrics?.serve(metricsFd, () => commands.reports())
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

  private eventsOf(config: ShareConfig, n: number, log: Logger): ShareEvents {
    const lines = new LimitedLines<LogLevel>((level, fields, text) => log[level](fields, text))
    return {
      log: (level, fields, text) => lines.line(level, fields, text),
      listening: (asyncIo) => {
        const { directory, socketPath } = config
        // An inherited socket may have no path to give to QEMU.
        const fields = { directory, asyncIo }
        if (socketPath === '') log.info(fields, 'ready')
        else {
          const qemu = qemuArguments(config)
          log.info({ ...fields, qemu }, 'ready: attach this share with these QEMU arguments')
        }
        if (++this.listening === this.configuration.shares.length) this.tellReady()
      },
      ended: () => this.end(n),
      // The cause is a bug here, or a host that took the share away. The other shares go on.
      failed: (error) => {
        log.fatal({ err: error }, 'the share failed')
        this.status = EXIT_FAILURE
        this.end(n)
      },
    }
  }

  private tellReady(): void {
    const { shares } = this.configuration
    this.manager.ready(`Serving ${shares.map(({ directory }) => directory).join(', ')}`)
  }

  private end(n: number): void {
    this.sockets.releaseShare(n)
    if (--this.running > 0) return
    if (isProfiled) this.exitAfterThreads()
    else this.exit(this.status)
  }

  /** Lets the threads end by themselves, because Node's profiler writes a thread's file only then. */
  private async exitAfterThreads(): Promise<void> {
    this.sockets.releaseAll()
    await Promise.all(this.threads.map(({ exited }) => exited))
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

/**
 * Starts to serve. Obeys signals from the first moment. Makes the sockets last, and removes them if the start fails.
 * `procFd` is O_PATH on /proc/self/fd. Throws UserError if a socket cannot be made.
 */
export function startServer(
  { configuration, confinement, syslogFd, managerLink }: ServerPlan,
  procFd: number,
  makeSockets: () => ListeningSockets,
  leaveOldRoot: () => void,
): void {
  let stop = (_signal: EndingSignal): void => exitNow(EXIT_SUCCESS)
  obeySignals((signal) => stop(signal))
  const { log, flush } = makeLogger(configuration.logLevel, syslogFd, writeNow)
  const manager = new ServiceManager(managerLink)
  const sockets = makeSockets()
  const server = new Server(
    configuration,
    confinement,
    sockets,
    log,
    syslogFd !== undefined,
    manager,
    procFd,
    flush,
  )
  stop = (signal) => server.stop(signal)
  process.on('uncaughtException', (error) => server.fail(error))
  try {
    server.start(leaveOldRoot)
  } catch (error) {
    sockets.releaseAll()
    throw error
  }
}

const isProfiled = process.execArgv.some((option) => /^--(cpu|heap)-prof/.test(option))

/** Returns its tag, or its number, counted from 0. */
function nameOf({ tag }: ShareConfig, n: number): string {
  return tag ?? `${n}`
}

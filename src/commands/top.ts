import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { UserError } from '../config/user-error.js'
import type { ReportedShare } from '../control/share-reports.js'
import type { InodeReport } from '../inspect/inode-activity.js'
import type { LocksReport } from '../passthrough/locks/locks.js'
import { ControlConnection } from './control-connection.js'
import { parseArguments, subcommand } from './subcommand.js'
import { rateOf, shareRow } from './top-figures.js'
import { type FileRow, type Screen, screenLines, type WaitRow } from './top-screen.js'
import { TopTerminal } from './top-terminal.js'

/** The busiest files of each share that are asked for. */
const FILES = 200

const after = `q ends it. Without a terminal, or with --once, it prints what one interval brought, and ends.
p50 and p99 are latencies: half, and 99 %, of the requests took no longer.`

interface TopOptions {
  controlSocket: string
  interval: string
  once?: true
  files?: true
}

function makeCommand(): Command {
  return subcommand('virtiofsd-ts top', 'Shows what the shares of a running virtiofsd-ts do.', after)
    .requiredOption('--control-socket <path>', 'the path that the running process was given')
    .option('--interval <seconds>', 'time between two looks', '1')
    .option(
      '--files',
      'show the busiest files; each request is inspected meanwhile, which costs the share some time',
    )
    .option('--once', 'print once, and end')
}

/** `virtiofsd-ts top`. Throws UserError. */
export async function runTop(args: readonly string[]): Promise<void> {
  const parsed = makeCommand()
  if (!parseArguments(parsed, args)) return
  const options = parsed.opts<TopOptions>()
  const intervalMs = 1000 * Number(options.interval)
  if (!(intervalMs >= 100))
    throw new UserError(`top: --interval ${options.interval}: not a number of seconds from 0.1 on`)
  const connection = await ControlConnection.open(options.controlSocket, 'top')
  const watcher = new Watcher(connection, options.files === true)
  try {
    await watcher.begin()
    if (options.once || !process.stdout.isTTY) {
      await sleep(intervalMs)
      process.stdout.write(`${screenLines(await watcher.look(), new Date()).join('\n')}\n`)
    } else {
      await show(watcher, intervalMs)
    }
  } finally {
    await watcher.end()
    connection.close()
  }
}

/** Shows screen after screen, until the user has enough. */
async function show(watcher: Watcher, intervalMs: number): Promise<void> {
  let lines: readonly string[] = ['virtiofsd-ts']
  let quit = () => {}
  const over = new Promise<'over'>((resolve) => {
    quit = () => resolve('over')
  })
  const terminal = new TopTerminal(quit, () => terminal.draw(lines))
  try {
    while ((await Promise.race([over, sleep(intervalMs)])) !== 'over') {
      lines = screenLines(await watcher.look(), new Date())
      terminal.draw(lines)
    }
  } finally {
    terminal.leave()
  }
}

/** Asks a running process again and again, and compares the answers. */
class Watcher {
  private reports: ReadonlyMap<string, ReportedShare> = new Map()
  private files = new Map<string, InodeReport>()
  private atMs = 0
  /** The shares whose inspection was switched on here. */
  private readonly inspected = new Set<string>()

  constructor(
    private readonly connection: ControlConnection,
    private readonly watchesFiles: boolean,
  ) {}

  async begin(): Promise<void> {
    await this.look()
  }

  /** Returns what was done since the last look. */
  async look(): Promise<Screen> {
    // The process answers "report" with these.
    const reports = (await this.connection.ask({ command: 'report' })) as readonly ReportedShare[]
    const nowMs = performance.now()
    const seconds = Math.max(0.001, (nowMs - this.atMs) / 1000)
    this.atMs = nowMs
    const shares = reports.map((share) => shareRow(this.reports.get(share.name), share, seconds))
    this.reports = new Map(reports.map((share) => [share.name, share]))
    const answering = reports.filter(({ state }) => state === 'answers').map(({ name }) => name)
    const files = this.watchesFiles ? await this.lookAtFiles(answering, seconds) : undefined
    return { shares, files, waits: await this.lookAtWaits(reports) }
  }

  /** Leaves the shares as they were. */
  async end(): Promise<void> {
    for (const share of this.inspected) await this.askShare(share, 'inspect', false)
    this.inspected.clear()
  }

  private async lookAtFiles(shares: readonly string[], seconds: number): Promise<readonly FileRow[]> {
    const rows: FileRow[] = []
    const seen = new Map<string, InodeReport>()
    for (const share of shares) {
      if (!this.inspected.has(share)) await this.inspect(share)
      const files = ((await this.askShare(share, 'inodes', { top: FILES, sort: 'writes' })) ??
        []) as InodeReport[]
      const readers = ((await this.askShare(share, 'inodes', { top: FILES, sort: 'reads' })) ??
        []) as InodeReport[]
      const known = new Map([...files, ...readers].map((file) => [file.nodeid, file]))
      for (const file of known.values()) {
        const key = `${share} ${file.nodeid}`
        const before = this.files.get(key)
        seen.set(key, file)
        const written = file.cachedWrites + file.directWrites
        rows.push({
          share,
          file,
          readsPerSecond: rateOf(file.reads, before?.reads ?? 0, seconds),
          writesPerSecond: rateOf(
            written,
            before === undefined ? 0 : before.cachedWrites + before.directWrites,
            seconds,
          ),
        })
      }
    }
    this.files = seen
    return rows
  }

  /** Switches inspection on, unless somebody else has. */
  private async inspect(share: string): Promise<void> {
    const state = (await this.askShare(share, 'state')) as { inspecting?: boolean } | undefined
    if (state?.inspecting !== false) return
    await this.askShare(share, 'inspect', true)
    this.inspected.add(share)
  }

  private async lookAtWaits(shares: readonly ReportedShare[]): Promise<readonly WaitRow[]> {
    const rows: WaitRow[] = []
    for (const { name, figures } of shares) {
      if ((figures?.use?.lockWaiters ?? 0) === 0) continue
      const locks = (await this.askShare(name, 'locks')) as LocksReport | undefined
      rows.push(...(locks?.waiting ?? []).map((lock) => ({ share: name, lock })))
    }
    return rows.sort((a, b) => b.lock.seconds - a.lock.seconds)
  }

  /** Asks a share; undefined if it has ended meanwhile, or does not know. */
  private async askShare(share: string, command: string, argument?: unknown): Promise<unknown> {
    try {
      return await this.connection.ask({ command, share, argument })
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      return undefined
    }
  }
}

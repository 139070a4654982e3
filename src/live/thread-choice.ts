import type { ShareConfig } from '../share/share-config.js'
import {
  type LoadedProgram,
  type MainThread,
  OwnThread,
  SharedThread,
  type ShareThread,
} from '../share/share-threads.js'

/** Returns true for a share whose work can hold its thread for long, or that asks for a thread: it has no neighbours. */
function needsOwnThread({ ownThread, fileSystem, quota }: ShareConfig): boolean {
  // A module may do anything. A quota is counted when the share starts, and whenever that is asked for.
  return ownThread || fileSystem !== undefined || quota !== undefined
}

/** Returns true if the main thread can serve a share: what it traces goes through that thread. */
function canBeOnMainThread(config: ShareConfig): boolean {
  return !needsOwnThread(config) && config.trace === undefined
}

/**
 * Says which thread serves a share. While there are few, each has a thread of its own. A process that starts with more of them
 * than `limit` divides all of them among so many threads. Shares that come later, and find `limit` threads, live together on as
 * many others.
 */
export class ThreadChoice {
  private shared: SharedThread[] = []
  private ownCount = 0
  private readonly isCrowded: boolean

  /** `expected`: the shares of the start. `main`: the main thread, if it can serve, too. */
  constructor(
    private readonly limit: number,
    expected: readonly ShareConfig[],
    private readonly main: MainThread | undefined,
  ) {
    this.isCrowded = expected.filter((config) => !needsOwnThread(config)).length > limit
  }

  threadFor(config: ShareConfig, loaded?: LoadedProgram): ShareThread {
    this.shared = this.shared.filter(({ over }) => !over)
    const { main, shared, limit } = this
    if (needsOwnThread(config)) return this.ownThread(loaded)
    const mainCanServe = main !== undefined && canBeOnMainThread(config)
    if (mainCanServe && main.count === 0) return main
    const mainCount = main === undefined ? 0 : 1
    if (!this.isCrowded && this.ownCount + mainCount + shared.length < limit) return this.ownThread(loaded)
    const candidates = mainCanServe ? [main, ...shared] : shared
    if (candidates.length === 0 || shared.length + mainCount < limit) {
      const thread = new SharedThread(loaded)
      shared.push(thread)
      return thread
    }
    return candidates.reduce((least, thread) => (thread.count < least.count ? thread : least))
  }

  private ownThread(loaded: LoadedProgram | undefined): ShareThread {
    this.ownCount++
    const thread = new OwnThread(loaded)
    return {
      run: (start, handle) => {
        const program = thread.run(start, handle)
        const count = () => {
          this.ownCount--
        }
        program.gone.then(count, count)
        return program
      },
    }
  }
}

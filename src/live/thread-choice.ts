import type { LoadedProgram } from '../share/loaded-program.js'
import type { ShareConfig } from '../share/share-config.js'
import { OwnThread, SharedThread, type ShareThread, type ThreadOfSeveral } from '../share/share-threads.js'

/** Makes threads. `loaded`: their program, if this process sees no files any more. */
export interface ThreadMaker {
  own(loaded: LoadedProgram | undefined): ShareThread
  shared(loaded: LoadedProgram | undefined): ThreadOfSeveral
}

const workers: ThreadMaker = {
  own: (loaded) => new OwnThread(loaded),
  shared: (loaded) => new SharedThread(loaded),
}

/** Returns true for a share whose work can hold its thread for long, or that asks for a thread: it has no neighbours. */
function needsOwnThread({ ownThread, fileSystem, quota }: ShareConfig): boolean {
  // A module may do anything. A quota is counted when the share starts, and whenever that is asked for.
  return ownThread || fileSystem !== undefined || quota !== undefined
}

/**
 * Says which thread serves a share. While there are few, each has a thread of its own. A process that starts with more of them
 * than `limit` divides all of them among so many threads. Shares that come later, and find `limit` threads, live together on as
 * many others.
 */
export class ThreadChoice {
  private shared: ThreadOfSeveral[] = []
  private ownCount = 0
  private readonly isCrowded: boolean

  /** `expected`: the shares of the start. `main`: the main thread, if it can serve, too. */
  constructor(
    private readonly limit: number,
    private readonly expected: readonly ShareConfig[],
    private readonly main: ThreadOfSeveral | undefined,
    private readonly make = workers,
  ) {
    this.isCrowded = expected.filter((config) => !needsOwnThread(config)).length > limit
  }

  threadFor(config: ShareConfig, loaded?: LoadedProgram): ShareThread {
    this.shared = this.shared.filter(({ over }) => !over)
    const { shared, limit, make } = this
    const main = this.canBeOnMain(config) ? this.main : undefined
    if (main?.count === 0) return main
    if (needsOwnThread(config)) return make.own(loaded)
    const mainCount = this.main !== undefined && this.expected.some((each) => this.canBeOnMain(each)) ? 1 : 0
    if (!this.isCrowded && this.ownCount + mainCount + shared.length < limit) return this.counted(loaded)
    const candidates = main === undefined ? shared : [main, ...shared]
    if (candidates.length === 0 || shared.length + mainCount < limit) {
      const thread = make.shared(loaded)
      shared.push(thread)
      return thread
    }
    return candidates.reduce((least, thread) => (thread.count < least.count ? thread : least))
  }

  /** What is traced goes through the main thread. What needs a thread to itself can be there alone. */
  private canBeOnMain(config: ShareConfig): boolean {
    const { ownThread, fileSystem, trace, queueThreads } = config
    if (ownThread || fileSystem !== undefined || trace !== undefined) return false
    if (this.expected.length === 1) return true
    // A thread with others for its queues waits for them. A share with neighbours has none.
    return !needsOwnThread(config) && (queueThreads === 1 || this.isCrowded)
  }

  private counted(loaded: LoadedProgram | undefined): ShareThread {
    this.ownCount++
    const thread = this.make.own(loaded)
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

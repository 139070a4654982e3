import { type TransferListItem, Worker } from 'node:worker_threads'
import type { Neighbours } from 'vhost-user-ts'
import { type LoadedProgram, startAndLearn } from './loaded-program.js'
import './v8-flags.js'
import type { SharedThreadNews, SharedThreadOrder, WorkerMessage, WorkerStart } from './worker-messages.js'

/** A share on its thread. */
export interface RunningProgram {
  /** Resolves when the share is gone. Rejects if it has failed: by a bug here, or by a host that took the share away. */
  readonly gone: Promise<void>
  /** The word at `allowed` has changed. */
  allowed(): void
}

/** A thread on which the program of a share runs. */
export interface ShareThread {
  run(start: WorkerStart, handle: (message: WorkerMessage) => void): RunningProgram
}

/** A thread that serves any number of shares. */
export interface ThreadOfSeveral extends ShareThread {
  /** The number of its shares now. */
  readonly count: number
  /** True once no more shares may come. */
  readonly over: boolean
}

/** A thread that serves one share. It may block. */
export class OwnThread implements ShareThread {
  /** `loaded`: the program, if this process sees no files any more. */
  constructor(private readonly loaded: LoadedProgram | undefined) {}

  run(start: WorkerStart, handle: (message: WorkerMessage) => void): RunningProgram {
    const worker = startWorker(this.loaded, start, [start.commandPort])
    worker.on('message', handle)
    return { gone: endOf(worker), allowed: () => {} }
  }
}

interface Program {
  handle(message: WorkerMessage): void
  resolve(): void
  reject(error: Error): void
}

/** A thread that serves several shares, which take turns. It ends with the last of them. */
export class SharedThread implements ThreadOfSeveral {
  private readonly worker: Worker
  private readonly programs = new Map<number, Program>()
  private readonly ended: Promise<void>
  private nextShare = 0
  over = false

  constructor(loaded: LoadedProgram | undefined) {
    this.worker = startWorker(loaded, {}, [])
    this.worker.on('message', ({ share, message }: SharedThreadNews) => {
      const program = this.programs.get(share)
      if (message.type !== 'gone') program?.handle(message)
      else if (message.failed === undefined) program?.resolve()
      else program?.reject(message.failed)
    })
    this.ended = endOf(this.worker).then(
      () => this.end(new Error('the thread has ended')),
      (error: Error) => this.end(error),
    )
  }

  get count(): number {
    return this.programs.size
  }

  run(start: WorkerStart, handle: (message: WorkerMessage) => void): RunningProgram {
    const share = this.nextShare++
    const ended = new Promise<void>((resolve, reject) => {
      this.programs.set(share, { handle, resolve, reject })
    })
    this.tell({ type: 'start', share, start }, [start.commandPort])
    return {
      gone: ended.finally(() => this.forget(share)),
      allowed: () => this.tell({ type: 'allowed', share }),
    }
  }

  private tell(order: SharedThreadOrder, transfers: TransferListItem[] = []): void {
    this.worker.postMessage(order, transfers)
  }

  /** The last share is gone when the thread is. */
  private async forget(share: number): Promise<void> {
    this.programs.delete(share)
    if (this.count > 0 || this.over) return
    this.over = true
    this.tell({ type: 'end' })
    await this.ended
  }

  /** An error that no share could keep to itself ends all of them. */
  private end(error: Error): void {
    this.over = true
    for (const { reject } of this.programs.values()) reject(error)
  }
}

/** The main thread, where it has nothing else to do that cannot wait for the host. */
export class MainThread implements ThreadOfSeveral {
  count = 0
  readonly over = false
  private neighbours: Neighbours | undefined

  /** `isAlone`: there is one share, and no other one comes. */
  constructor(private readonly isAlone: boolean) {}

  run(start: WorkerStart, handle: (message: WorkerMessage) => void): RunningProgram {
    this.count++
    let allowed = () => {}
    const changed = () => new Promise<void>((resolve) => (allowed = resolve))
    return {
      gone: this.serve(start, handle, changed).finally(() => this.count--),
      allowed: () => allowed(),
    }
  }

  private async serve(
    start: WorkerStart,
    handle: (message: WorkerMessage) => void,
    changed: () => Promise<void>,
  ): Promise<void> {
    // A bundle of its own, as that of the worker: V8 takes a constant of another file for a variable.
    const { href } = new URL('../share/share-on-main-thread.js', import.meta.url)
    // The type is that of the file behind the address.
    const program = (await import(href)) as typeof import('./share-on-main-thread.js')
    if (!this.isAlone) this.neighbours ??= new program.Neighbours()
    await program.runShareFromNode(start, handle, changed, this.neighbours)
  }
}

function startWorker(
  loaded: LoadedProgram | undefined,
  data: object,
  transferList: TransferListItem[],
): Worker {
  if (loaded === undefined)
    return new Worker(new URL('../share/share-worker.js', import.meta.url), {
      workerData: data,
      transferList,
    })
  return startAndLearn(loaded, data, transferList)
}

function endOf(worker: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.on('error', reject)
    worker.once('exit', () => resolve())
  })
}

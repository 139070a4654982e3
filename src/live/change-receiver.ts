import { readFileSync } from 'node:fs'
import type { Logger } from 'pino'
import { EventLoop } from 'vhost-user-ts'
import { messageOf } from '../basics/errors.js'
import type { ServerPlan } from '../sandbox/launch.js'
import { nativePath } from '../sandbox/own-process.js'
import type { LoadedProgram } from '../share/loaded-program.js'
import { closeFds, type Packet, type PacketSocket } from '../sockets/packet-socket.js'
import {
  type Changes,
  type DescribedShare,
  decodeMessage,
  encodeMessage,
  type LiveAnswer,
  type LiveRequest,
  type NewShare,
  type SentRequest,
  type SignalTask,
} from './messages.js'
import type { Predecessor } from './predecessor.js'
import type { RunningShares } from './running-shares.js'

/** Reads the program of a share's thread into memory. Call it while this process still sees its files. */
export function loadProgram(): LoadedProgram {
  const file = new URL('../share/share-worker.cjs', import.meta.url)
  return { text: readFileSync(file, 'utf8'), nativePath }
}

/** How another process takes the place of this one. */
export interface Replacement {
  readonly predecessor: Predecessor
  /** Ends this process. */
  replaced(): never
}

/** Carries out the changes that a helper asks for, one after the other, on the main thread. */
export class ChangeReceiver {
  private turn: Promise<void> = Promise.resolve()

  constructor(
    private readonly socket: PacketSocket,
    private readonly shares: RunningShares,
    /** The program of a share’s thread. Undefined if no share can be added. */
    private readonly program: LoadedProgram | undefined,
    private readonly log: Logger,
    private readonly plan: Pick<ServerPlan, 'configuration' | 'pid'>,
    private readonly replacement: Replacement,
  ) {
    const loop = new EventLoop()
    const unwatch = loop.watch(() => loop.wait(0))
    socket.onPacket(loop, (packet) => {
      if (packet === undefined) unwatch()
      else if (packet.text !== '') this.turn = this.turn.then(() => this.take(packet))
    })
  }

  private async take({ text, fds }: Packet): Promise<void> {
    // Only helpers of our own broker have the other end, and the broker itself.
    const { id, ...request } = decodeMessage(text) as SentRequest
    const answer = await this.answer(request, fds).then(
      (result): LiveAnswer => ({ id, ok: true, result }),
      (error: unknown): LiveAnswer => ({ id, ok: false, error: messageOf(error) }),
    )
    if (id === undefined) return
    if (!this.tell(answer)) this.tell({ id, ok: false, error: 'the answer is too long' })
    if (request.op === 'replace' && answer.ok) this.replacement.replaced()
  }

  /** Returns false if the message cannot be sent. */
  private tell(answer: LiveAnswer): boolean {
    try {
      this.socket.send(encodeMessage(answer))
      return true
    } catch {
      // If the helper is gone, an abort follows.
      return false
    }
  }

  private async answer(request: LiveRequest, fds: readonly number[]): Promise<unknown> {
    const { shares } = this
    switch (request.op) {
      case 'describe': {
        const running = shares.serving.map(
          ({ id, name, added, words, config }): DescribedShare => ({ id, name, added, words, config }),
        )
        const { shares: _, dangers: __, ...process } = this.plan.configuration
        const configuration = { ...process, logLevel: shares.level }
        return { pid: this.plan.pid, shares: running, configuration }
      }
      case 'prepare':
        return this.prepare(request, fds)
      case 'commit':
        return this.commit(request)
      case 'replace':
        return this.replace(fds)
      case 'abort':
        shares.abort()
        return undefined
      case 'refused':
        this.log.error({ reason: request.reason }, notDone[request.task])
        return undefined
    }
  }

  private async prepare(
    { config, added, words, dangers }: NewShare,
    fds: readonly number[],
  ): Promise<number> {
    const [listenFd, rootFd] = fds
    const { program } = this
    if (listenFd === undefined || rootFd === undefined || program === undefined) {
      closeFds(fds)
      throw new Error('a share comes with a socket and a directory')
    }
    // The working directory of a share's thread is /proc/self/fd.
    const trace = this.plan.configuration.sandbox === 'none' ? config.trace : undefined
    const place = { root: `${rootFd}`, trace, listenFd }
    for (const danger of dangers) this.log.warn({ directory: config.directory }, danger)
    try {
      return await this.shares.prepare(config, place, { added, words, loaded: program })
    } catch (error) {
      closeFds([listenFd])
      throw error
    } finally {
      closeFds([rootFd])
    }
  }

  private async replace([fd, ...others]: readonly number[]): Promise<object> {
    closeFds(others)
    if (fd === undefined) throw new Error('a successor comes with a socket')
    await this.replacement.predecessor.handOver(fd)
    return {}
  }

  /** Does all that it can: a share that is late, or has just ended, keeps no other from its change. */
  private async commit({ begin, remove, settings, logLevel, said }: Changes): Promise<object> {
    const { shares } = this
    shares.setLogLevel(logLevel)
    const changes = await Promise.allSettled([
      ...settings.map(({ id, config }) => shares.change(id, config)),
      ...remove.map((id) => shares.remove(id)),
    ])
    for (const id of begin) shares.begin(id)
    const late = changes.flatMap((change) => (change.status === 'rejected' ? [messageOf(change.reason)] : []))
    this.log.info({ added: begin.length, removed: remove.length, changed: settings.length, late }, said)
    if (late.length > 0) throw new Error(late.join('; '))
    return {}
  }
}

/** The log lines for what a signal asked for and that could not be done. */
const notDone: Readonly<Record<SignalTask, string>> = {
  reload: 'the configuration was not reloaded',
  replace: 'this process was not replaced',
}

import { performance } from 'node:perf_hooks'
import type { Logger } from 'pino'
import { messageOf } from '../basics/errors.js'
import { inTime } from '../basics/in-time.js'
import type { ShareFigures } from '../share/share-figures.js'
import type { ListeningSockets } from '../sockets/listening-sockets.js'
import { closeFds, PacketSocket } from '../sockets/packet-socket.js'
import { PacketQueue } from './packet-queue.js'
import type { RunningShares } from './running-shares.js'
import { keyOf } from './share-key.js'
import { messageIn, type Place, SUCCESSION_VERSION, type SuccessionMessage, sendTo } from './succession.js'

/** The time that a successor has to start. */
const START_LIMIT_MS = 30_000
/**
 * The longest pause for guests, requests under way included: so much, and more for each inode that they know. A million took
 * five seconds on two busy processors.
 */
const PAUSE_LIMIT_MS = 5000
const PAUSE_LIMIT_PER_INODE_MS = 0.01
/** See the helper's REPLACE_TIMEOUT_MS. */
const MOST_PAUSE_MS = 20_000
/** Threads that do not wait for the host answer within this time. */
const MARGIN_MS = 1000

/** What a process gives to its successor, besides its shares. */
export interface Estate {
  readonly place: Place
  readonly sockets: Pick<ListeningSockets, 'controlFd' | 'metricsFd'>
  /** The mount namespace in which the shared directories are mounted. */
  readonly mountsFd: number | undefined
  /** As an Offer has it. */
  readonly counted: readonly string[]
}

/** Hands everything to a successor. */
export class Predecessor {
  constructor(
    private readonly shares: RunningShares,
    private readonly estate: () => Estate,
    private readonly log: Logger,
  ) {}

  /**
   * Hands everything to the process at the other end of `fd`, which is taken over. Resolves when that process serves: this
   * one must end then, and touch nothing. Rejects with the reason if it does not; everything goes on then.
   */
  async handOver(fd: number): Promise<void> {
    const socket = new PacketSocket(fd)
    const packets = new PacketQueue(socket)
    try {
      await this.negotiate(socket, packets)
    } catch (error) {
      this.log.warn({ reason: messageOf(error) }, 'this process was not replaced')
      throw error
    } finally {
      packets.close()
    }
  }

  private async negotiate(socket: PacketSocket, packets: PacketQueue): Promise<void> {
    const { place, sockets, mountsFd, counted } = this.estate()
    const fds = [sockets.controlFd, sockets.metricsFd, mountsFd].filter((each) => each !== undefined)
    const hasMounts = mountsFd !== undefined
    const offer = { op: 'offer', version: SUCCESSION_VERSION, place, hasMounts, counted } as const
    await this.offer(socket, packets, offer, fds)
    const ready = await this.expect(packets, 'ready', performance.now() + START_LIMIT_MS)
    let untilMs = 0
    try {
      untilMs = performance.now() + (await this.pauseLimitMs())
      await this.suspendAll(ready.message.shares, ready.fds, untilMs)
      await this.expect(packets, 'taken', untilMs)
      go(socket)
    } catch (error) {
      // The successor must not get further before the shares go on.
      packets.close()
      await this.resumeAll()
      throw error
    }
    // It cannot be taken back from here on. A successor that never answers is one that was stopped or has died.
    const begun = await packets.next(untilMs)
    if (begun !== undefined) return
    await this.resumeAll()
    throw new Error(LEFT_BEFORE_GO)
  }

  /** Throws the reason of a successor that has ended already. */
  private async offer(
    socket: PacketSocket,
    packets: PacketQueue,
    offer: SuccessionMessage,
    fds: readonly number[],
  ): Promise<void> {
    try {
      sendTo(socket, offer, fds)
    } catch {
      const last = await packets.next(performance.now() + MARGIN_MS)
      if (last === undefined || last === 'late') throw new Error('the new process ended before it was ready')
      closeFds(last.fds)
      const message = messageIn(last)
      throw new Error(message.op === 'refused' ? message.reason : `the new process said ${message.op}`)
    }
  }

  /** Returns the longest pause that the guests' inodes justify. Throws if a share does not answer. */
  private async pauseLimitMs(): Promise<number> {
    const asked = this.shares.serving.map(({ client }) => client.ask('figures', undefined))
    const answers = await inTime(Promise.all(asked), PAUSE_LIMIT_MS)
    if (answers === undefined) throw new Error(STUCK)
    // Each is what ShareService answers.
    const inodes = (answers as ShareFigures[]).reduce((sum, { use }) => sum + (use?.inodes ?? 0), 0)
    return Math.min(MOST_PAUSE_MS, PAUSE_LIMIT_MS + inodes * PAUSE_LIMIT_PER_INODE_MS)
  }

  /** Waits for a message. Throws the reason if another one comes. */
  private async expect<Op extends SuccessionMessage['op']>(packets: PacketQueue, op: Op, untilMs: number) {
    const packet = await packets.next(untilMs)
    if (packet === 'late') throw new Error(`the new process took too long`)
    if (packet === undefined) throw new Error(`the new process ended before it was ${op}`)
    const message = messageIn(packet)
    if (message.op === op)
      return { message: message as Extract<SuccessionMessage, { op: Op }>, fds: packet.fds }
    closeFds(packet.fds)
    throw new Error(message.op === 'refused' ? message.reason : `the new process said ${message.op}`)
  }

  /** Suspends every share and hands it to the thread of the successor at its socket. Rejects if one of them cannot be. */
  private async suspendAll(keys: readonly string[], fds: readonly number[], untilMs: number): Promise<void> {
    const limitMs = untilMs - performance.now()
    const { serving } = this.shares
    const handed = serving.map(({ config, client }) => ({ client, fd: fds[keys.indexOf(keyOf(config))] }))
    if (handed.length !== fds.length || handed.some(({ fd }) => fd === undefined)) {
      closeFds(fds)
      throw new Error('shares have come or gone meanwhile')
    }
    const answers = handed.map(({ client, fd }) => client.ask('hand-over', { fd, limitMs }))
    // The threads know better reasons, and come first.
    const outcomes = await inTime(Promise.allSettled(answers), limitMs + MARGIN_MS)
    if (outcomes === undefined) throw new Error(STUCK)
    const failed = outcomes.find(({ status }) => status === 'rejected')
    if (failed?.status === 'rejected') throw failed.reason
  }

  private async resumeAll(): Promise<void> {
    const { serving } = this.shares
    // A share that has ended meanwhile has nothing to resume. One that waits for the host resumes when it goes on.
    await inTime(Promise.allSettled(serving.map(({ client }) => client.ask('resume', undefined))), MARGIN_MS)
  }
}

function go(socket: PacketSocket): void {
  try {
    sendTo(socket, { op: 'go' })
  } catch {
    throw new Error(LEFT_BEFORE_GO)
  }
}

const STUCK = "a share waits for the host's file system"
const LEFT_BEFORE_GO = 'the new process ended before it served'

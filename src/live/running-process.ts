import { performance } from 'node:perf_hooks'
import { EventLoop } from 'vhost-user-ts'
import { UserError } from '../config/user-error.js'
import type { Packet, PacketSocket } from '../sockets/packet-socket.js'
import {
  type Changes,
  type Description,
  decodeMessage,
  encodeMessage,
  type LiveAnswer,
  type LiveRequest,
  type NewShare,
  type SignalTask,
} from './messages.js'

/** The time that the process has for one answer. */
const ANSWER_TIMEOUT_MS = 30_000
/** More than a successor has to start, and the process to hand everything over. */
const REPLACE_TIMEOUT_MS = 60_000

/** The running process, seen from a helper. Nothing that it says is trusted with the host's files. */
export class RunningProcess {
  private readonly loop = new EventLoop()
  private answer: Packet | undefined
  private nextId = 0

  constructor(private readonly socket: PacketSocket) {
    socket.onPacket(this.loop, (packet) => {
      if (packet === undefined) throw new UserError('the process has ended')
      this.answer = packet
    })
  }

  describe(): Description {
    return this.ask({ op: 'describe' }) as Description
  }

  /** Returns the number of the share. Throws UserError if it cannot be served. */
  prepare(share: NewShare, listenFd: number, rootFd: number): number {
    return Number(this.ask({ op: 'prepare', ...share }, [listenFd, rootFd]))
  }

  /** Throws UserError if something could not be done. */
  commit(changes: Changes): void {
    this.ask({ op: 'commit', ...changes })
  }

  /** Has it replaced by the process at the other end of `fd`. Throws UserError if it goes on. */
  replaceBy(fd: number): void {
    this.ask({ op: 'replace' }, [fd], REPLACE_TIMEOUT_MS)
  }

  /** Gives up what was prepared. */
  abort(): void {
    this.socket.send(encodeMessage({ op: 'abort' }))
  }

  refused(task: SignalTask, reason: string): void {
    this.socket.send(encodeMessage({ op: 'refused', task, reason }))
  }

  private ask(request: LiveRequest, fds: readonly number[] = [], timeoutMs = ANSWER_TIMEOUT_MS): unknown {
    const id = `${process.pid}.${this.nextId++}`
    this.socket.send(encodeMessage({ ...request, id }), fds)
    const endMs = performance.now() + timeoutMs
    for (;;) {
      const answer = this.takeAnswer()
      if (answer?.id === id && answer.ok) return answer.result
      if (answer?.id === id && !answer.ok) throw new UserError(answer.error)
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) throw new UserError('the process does not answer')
      this.loop.wait(Math.ceil(leftMs))
    }
  }

  private takeAnswer(): LiveAnswer | undefined {
    const { answer } = this
    this.answer = undefined
    // The process runs our program; what it says is looked at, and never obeyed.
    return answer === undefined || answer.text === '' ? undefined : (decodeMessage(answer.text) as LiveAnswer)
  }
}

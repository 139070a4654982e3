import {
  type EventLoop,
  type HandedConnection,
  HandedReceiver,
  HandedSender,
  type HandedSession,
  ReceiverGone,
  StateError,
} from 'vhost-user-ts'
import { damaged } from '../state/blocks.js'
import { objectOf, sectionReader, stateStream, textSection } from '../state/sections.js'
import type { ShareState } from './share-state.js'

/**
 * Section HAND: the connection with the front-end, or null without one. It comes first. Its descriptors are the listening
 * socket's, then the connection's.
 */
export const HANDED = { tag: 'HAND', version: 1, isRequired: true } as const

/** The longest wait for the end of requests under way. */
export const REQUESTS_LIMIT_MS = 5000

/** What a share's thread hands over, besides its state. */
export interface HandedShare {
  readonly listenFd: number
  readonly connection: HandedConnection | undefined
  /** The time at which the share was suspended, as `monotonicMs` has it. */
  readonly suspendedMs: number
}

/** Milliseconds of a clock that all processes of the host share. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000
}

/**
 * Sends everything that another process needs to go on with a suspended share, over `fd`. Throws StateError if that takes
 * longer than until `untilMs` (of `performance.now()`), or cannot be done; the caller then resumes the share. A process that
 * has gone is no error here: whether it has taken everything, and why not, it says itself.
 */
export function handOver(
  state: ShareState,
  { connection, listenFd, suspendedMs }: HandedShare,
  fd: number,
  untilMs: number,
): void {
  const sender = new HandedSender(fd, untilMs)
  let fds: number[] = [listenFd, ...(connection?.fds ?? [])]
  try {
    const head = { connection: connection?.session ?? null, fdCount: fds.length, suspendedMs }
    for (const piece of stateStream(sections(head, state, (passed) => fds.push(passed)))) {
      sender.sendFds(fds)
      fds = []
      sender.sendBytes(piece)
    }
    sender.end()
  } catch (error) {
    if (!(error instanceof ReceiverGone)) throw error
  } finally {
    sender.close()
  }
}

function* sections(
  head: object,
  state: ShareState,
  pass: (fd: number) => void,
): Generator<Iterable<Uint8Array>> {
  yield textSection(HANDED, head)
  yield* state.handed(pass)
}

/** Receives over `fd` what `handOver` sends, and fills the share with it. Blocks. Throws StateError. */
export function takeOver(state: ShareState, fd: number): HandedShare {
  const receiver = new HandedReceiver(fd)
  const taking = new Taking(state, receiver)
  for (let piece = receiver.receive(); piece !== undefined; piece = receiver.receive()) taking.write(piece)
  return taking.end()
}

/** Does the same while Node's loop, and with it other shares of this thread, goes on. Rejects with StateError. */
export function takeOverFromNode(state: ShareState, fd: number, loop: EventLoop): Promise<HandedShare> {
  const receiver = new HandedReceiver(fd)
  const taking = new Taking(state, receiver)
  return new Promise((resolve, reject) => {
    const unwatch = loop.watch(() => loop.wait(0))
    const settled = (settle: () => void) => {
      unwatch()
      loop.remove(fd)
      settle()
    }
    loop.addReadable(fd, () => {
      try {
        const piece = receiver.receive(false)
        if (piece === 'later') return
        if (piece !== undefined) taking.write(piece)
        else {
          const share = taking.end()
          settled(() => resolve(share))
        }
      } catch (error) {
        settled(() => reject(error))
      }
    })
  })
}

/** Takes a share in pieces. */
class Taking {
  private share: HandedShare | undefined
  private readonly taken
  private readonly reader

  constructor(state: ShareState, receiver: HandedReceiver) {
    const takeFd = () => receiver.takeFd()
    this.taken = state.take(takeFd)
    const take = (contents: Uint8Array) => {
      this.share = readHead(objectOf(contents), takeFd)
    }
    this.reader = sectionReader([{ kind: HANDED, take }, ...this.taken.takers])
  }

  write(piece: Uint8Array): void {
    this.reader.write(piece)
  }

  end(): HandedShare {
    this.reader.end()
    if (this.share === undefined) throw damaged('section HAND is missing')
    this.taken.end()
    return this.share
  }
}

function readHead(
  { connection, fdCount, suspendedMs }: Record<string, unknown>,
  takeFd: () => number,
): HandedShare {
  if (typeof fdCount !== 'number' || !(fdCount >= 1)) throw new StateError('there is no listening socket')
  const [listenFd = -1, ...fds] = Array.from({ length: fdCount }, takeFd)
  // The program that wrote this runs beside us, and is ours or the version before.
  const session = connection as HandedSession | null
  return {
    listenFd,
    connection: session === null ? undefined : { session, fds },
    suspendedMs: Number(suspendedMs),
  }
}

import { FUSE_KERNEL_VERSION, InitFlag, Opcode, opcodeName } from './abi.js'
import { Counters } from './counters.js'
import { EAGAIN, EINTR, EINVAL, EIO, ENAMETOOLONG, ENOSYS } from './errno.js'
import type { FileSystem, Operation } from './file-system.js'
import {
  has,
  type InitAgreement,
  type InitOverride,
  type InitWishes,
  negotiate,
  noOverride,
} from './negotiation.js'
import { agreedRules, type Rule, Trailer } from './operation-rules.js'
import { PostponedRequests } from './postponed.js'
import {
  ARGS,
  type Carrier,
  IN_PLACE,
  MAX_ARG_BYTES,
  NO_REPLY,
  PENDING_REPLY,
  POSTPONED,
  Request,
} from './request.js'
import { checkTrailer } from './trailer.js'
import { InitIn, InitOut } from './wire/init.js'

/** What `Session.process` returns when the reply comes later. */
export const PENDING = -1

const OPCODE_COUNT = 64

/** What a session tells whoever runs it. */
export interface SessionObserver {
  /** A session began. */
  agreed(agreement: InitAgreement): void
  /** The session that was agreed on last has ended. */
  ended?(): void
  /** The guest sent something that no correct guest sends; `kind` comes from a fixed set. */
  fault(kind: string, fields: object): void
}

/**
 * One FUSE session after another, of one guest: takes requests apart, checks them, hands them to the file system, and
 * sends the replies, exact to the byte.
 */
export class Session {
  private readonly request: Request
  private readonly operations: (Operation | undefined)[] = new Array(OPCODE_COUNT).fill(undefined)
  /** By opcode; those of some depend on what was agreed on. */
  private rules: readonly (Rule | undefined)[] = agreedRules(0n)
  /** Before 7.38 a security context followed the names without being announced in the header. */
  private looseContexts = false
  private agreement: InitAgreement | undefined
  private readonly postponed = new PostponedRequests()
  /**
   * Called with each request that is sound, before its operation. It may change the copied arguments; a negative errno is
   * the reply instead of the operation's. For tests of guests.
   */
  beforeOperation: Operation | undefined
  /** Opcodes that are answered with ENOSYS although the file system has them, and how often they were. */
  readonly withheld = new Map<number, number>()
  /** Replaces what the next INIT agrees on. */
  initOverride: InitOverride = noOverride

  constructor(
    readonly fileSystem: FileSystem,
    private readonly wishes: InitWishes,
    private readonly observer: SessionObserver,
    readonly counters = new Counters(),
  ) {
    this.request = new Request(counters)
    this.rules.forEach((known, opcode) => {
      // A rule names a method of FileSystem, each of which is an Operation where it is there.
      const operation = known && (fileSystem[known.method] as Operation | undefined)
      this.operations[opcode] = operation?.bind(fileSystem)
    })
  }

  /** Serves one request. Returns the bytes of its reply, 0 for none, or PENDING. */
  process(carrier: Carrier): number {
    const { request } = this
    if (!request.begin(carrier)) return this.refuseFrame(carrier)
    this.counters.asked(request.opcode)
    const result = this.run(request)
    if (result !== POSTPONED) return this.finish(request, result)
    return this.postponed.add(carrier) ? PENDING : request.fail(-EAGAIN)
  }

  /** Serves postponed requests that are due. Returns true if any was answered. */
  progress(): boolean {
    return this.postponed.progress((carrier) => this.serveAgain(carrier))
  }

  /** Milliseconds until `progress` has something to do, -1 for never. */
  nextDueMs(): number {
    return this.postponed.nextDueMs()
  }

  /** Ends the wait of all postponed requests: their callers are told that they were interrupted. */
  drain(): void {
    for (const carrier of this.postponed.takeAll()) {
      this.request.begin(carrier)
      carrier.complete(this.request.fail(-EINTR))
    }
  }

  /** Returns true if the request is answered, or will be by its operation. */
  private serveAgain(carrier: Carrier): boolean {
    const { request } = this
    const isWhole = request.begin(carrier)
    const result = isWhole ? this.run(request) : 0
    if (result === POSTPONED) return false
    const writtenBytes = isWhole ? this.finish(request, result) : this.refuseFrame(carrier)
    if (writtenBytes !== PENDING) carrier.complete(writtenBytes)
    return true
  }

  /** Sends what an operation has left. Returns the bytes of the reply, 0 for none, or PENDING. */
  private finish(request: Request, result: number): number {
    if (result >= 0) return request.succeed(result) || request.fail(this.refuseReply(request))
    if (result === IN_PLACE) return request.succeedInPlace()
    if (result === PENDING_REPLY) return PENDING
    if (result === NO_REPLY || isForget(request.opcode)) return 0
    return request.fail(result)
  }

  /**
   * Answers a request that came in pieces of which some cannot be reached. Returns the bytes of its reply, 0 when it waits for
   * none, or PENDING when there is no place for a header: Linux before 7.1 takes one that was left as it is for success, so
   * that request must never be given back.
   */
  refuse(carrier: Carrier): number {
    const { request } = this
    request.begin(carrier)
    if (isForget(request.opcode)) return 0
    const answered = request.fail(-EIO)
    if (answered > 0) return answered
    this.observer.fault('a request whose reply cannot be reached is never given back', {
      opcode: opcodeName(request.opcode),
    })
    return PENDING
  }

  /** Requests that are answered later: by their operations, or when they have been served again. */
  get pendingCount(): number {
    return this.request.deferredCount + this.postponed.count
  }

  /** Ends the session, as DESTROY does. */
  end(): void {
    const began = this.agreement !== undefined
    this.agreement = undefined
    this.fileSystem.destroy()
    if (began) this.observer.ended?.()
  }

  private run(request: Request): number {
    const { opcode } = request
    if (this.agreement === undefined && opcode !== Opcode.INIT) {
      this.observer.fault('request before INIT', { opcode: opcodeName(opcode) })
      return -EIO
    }
    const known = this.rules[opcode]
    if (known === undefined) return this.runOwn(request)
    const operation = this.operations[opcode]
    if (operation === undefined) return -ENOSYS
    if (this.withheld.size > 0 && this.withheld.has(opcode)) return this.refuseWithheld(opcode)
    if (request.carrier.writableBytes < known.writableBytes) return this.refuseReply(request)
    const loaded = request.loadArgs(known.trailer === Trailer.Data ? known.argBytes : MAX_ARG_BYTES + 1)
    if (loaded < known.argBytes) return this.refuseArgs(request, 'arguments too short or too long', -EINVAL)
    if (known.trailer === Trailer.None || known.trailer === Trailer.Data)
      return this.carryOut(operation, request)
    const error = checkTrailer(request, known, this.looseContexts)
    if (error === 0) return this.carryOut(operation, request)
    // A name that is only too long is the user's mistake, not the guest kernel's.
    return error === -ENAMETOOLONG ? error : this.refuseArgs(request, 'bad name', error)
  }

  private refuseWithheld(opcode: number): number {
    this.withheld.set(opcode, (this.withheld.get(opcode) ?? 0) + 1)
    this.observer.fault('withheld opcode answered with ENOSYS', { opcode: opcodeName(opcode) })
    return -ENOSYS
  }

  private carryOut(operation: Operation, request: Request): number {
    const { beforeOperation } = this
    const refused = beforeOperation === undefined ? 0 : beforeOperation(request)
    return refused < 0 ? refused : operation(request)
  }

  /** Opcodes that concern the session itself, and those that nobody implements. */
  private runOwn(request: Request): number {
    switch (request.opcode) {
      case Opcode.INIT:
        return this.init(request)
      case Opcode.DESTROY:
        this.end()
        return 0
      case Opcode.INTERRUPT:
      case Opcode.NOTIFY_REPLY:
        // Neither has a reply. INTERRUPT is a hint, and nothing here can be interrupted.
        return NO_REPLY
      default:
        return -ENOSYS
    }
  }

  /** INIT also ends a session that went before: a guest that rebooted sends no DESTROY. */
  private init(request: Request): number {
    const { args } = request
    if (request.replyRoomBytes < InitOut.BYTES) return this.refuseReply(request)
    const loaded = request.loadArgs(InitIn.EXT_BYTES)
    if (loaded < InitIn.BYTES) return this.refuseArgs(request, 'arguments too short or too long', -EINVAL)
    const low = InitIn.flags(args, ARGS)
    const extended = loaded >= InitIn.EXT_BYTES && (low & INIT_EXT) !== 0
    const agreement = negotiate(
      {
        major: InitIn.major(args, ARGS),
        minor: InitIn.minor(args, ARGS),
        maxReadaheadBytes: InitIn.maxReadaheadBytes(args, ARGS),
        flags: BigInt(low) | (extended ? BigInt(InitIn.flags2(args, ARGS)) << 32n : 0n),
      },
      this.wishes,
      this.initOverride,
    )
    if (typeof agreement === 'number') {
      this.observer.fault('INIT of an unknown version, or without what is required', {
        major: InitIn.major(args, ARGS),
        minor: InitIn.minor(args, ARGS),
        required: `0x${this.wishes.requiredFlags.toString(16)}`,
      })
      return agreement
    }
    this.end()
    InitOut.write(request.reply, 0, agreement.reply)
    // A guest of a later major version asks again in ours: only that begins a session.
    if (InitIn.major(args, ARGS) === FUSE_KERNEL_VERSION) {
      this.fileSystem.init(agreement)
      this.agreement = agreement
      this.rules = agreedRules(agreement.flags)
      this.looseContexts = has(agreement.flags, InitFlag.SECURITY_CTX)
      this.observer.agreed(agreement)
    }
    return InitOut.BYTES
  }

  private refuseArgs(request: Request, kind: string, error: number): number {
    this.observer.fault(kind, {
      opcode: opcodeName(request.opcode),
      lenBytes: request.lenBytes,
      error: -error,
    })
    return error
  }

  private refuseReply(request: Request): number {
    this.observer.fault('no room for the reply', { opcode: opcodeName(request.opcode) })
    return -EINVAL
  }

  /** A frame whose length makes no sense is answered, also when it is too short to say what it is. */
  private refuseFrame(carrier: Carrier): number {
    const { request } = this
    const fields = { readableBytes: carrier.readableBytes, lenBytes: request.lenBytes }
    this.observer.fault('request of a wrong length', fields)
    return isForget(request.opcode) ? 0 : request.fail(-EIO)
  }
}

const INIT_EXT = 1 << 30

function isForget(opcode: number): boolean {
  return opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET
}

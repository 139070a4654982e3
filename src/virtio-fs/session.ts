import { FUSE_KERNEL_VERSION, InitFlag, Opcode, opcodeName } from './abi.js'
import { Counters } from './counters.js'
import { EAGAIN, EINTR, EINVAL, EIO, ENAMETOOLONG, ENOSYS } from './errno.js'
import type { FileSystem, Operation } from './file-system.js'
import type { Gate } from './gate.js'
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
  HELD,
  IN_PLACE,
  LEFT,
  MAX_ARG_BYTES,
  NO_REPLY,
  PENDING_REPLY,
  POSTPONED,
  Request,
} from './request.js'
import { sooner } from './sooner.js'
import { checkTrailer } from './trailer.js'
import { InitIn, InitOut } from './wire/init.js'

/** Result of `Session.process` if the reply comes later. */
export const PENDING = -1

const OPCODE_COUNT = 64

/** Reports of a session to its owner. */
export interface SessionObserver {
  /** A session began. */
  agreed(agreement: InitAgreement): void
  /** The last session has ended. */
  ended?(): void
  /** The guest sent something that no correct guest sends. `kind` comes from a fixed set. */
  fault(kind: string, fields: object): void
}

/**
 * The FUSE sessions of one guest, one after the other. Decodes and checks requests, passes them to the file system, and
 * sends replies of exact length.
 */
export class Session {
  private readonly request: Request
  private readonly operations: (Operation | undefined)[] = new Array(OPCODE_COUNT).fill(undefined)
  /** The rules by opcode. Some depend on the INIT agreement. */
  private rules: readonly (Rule | undefined)[] = agreedRules(0n, false)
  /** Extensions may follow the arguments. A guest that has not offered them may leave their length unset. */
  private hasExtensions = false
  /** Before 7.38, a security context follows the names without an announcement in the header. */
  private looseContexts = false
  private agreement: InitAgreement | undefined
  private readonly postponed = new PostponedRequests()
  /**
   * Called with each valid request before its operation. May change the copied arguments. A negative errno becomes the reply
   * and the operation does not run. For tests of guests.
   */
  beforeOperation: Operation | undefined
  /** Called before INIT and DESTROY are carried out: no other thread may serve the guest meanwhile. */
  beforeChange: (() => void) | undefined
  /** Asks the thread that may serve every request to take this one over. Undefined: this is that thread. */
  leave: (() => void) | undefined
  /** Opcodes answered with ENOSYS although the file system has them, with their counts. */
  readonly withheld = new Map<number, number>()
  /** Says when operations may run. Undefined: at once. */
  gate: Gate | undefined
  /** True while a request is served that the gate has let in, or that was let in before it was postponed. */
  private isDue = false
  /** Changes the result of the next INIT. */
  initOverride: InitOverride = noOverride
  /** The answer to every request once the session is shut, a negative errno; 0: it is not. */
  private shutWith = 0

  constructor(
    readonly fileSystem: FileSystem,
    /** The flags that the device asks for at INIT. A change takes effect at the next INIT. */
    public wishes: InitWishes,
    private readonly observer: SessionObserver,
    readonly counters = new Counters(),
  ) {
    this.request = new Request(counters)
    this.rules.forEach((known, opcode) => {
      // A rule names a method of FileSystem. Each such method, if present, is an Operation.
      const operation = known && (fileSystem[known.method] as Operation | undefined)
      this.operations[opcode] = operation?.bind(fileSystem)
    })
  }

  /** Serves one request. Returns the bytes of its reply, 0 for none, or PENDING. */
  process(carrier: Carrier): number {
    const { request } = this
    if (!request.begin(carrier)) return this.refuseFrame()
    this.counters.asked(request.opcode)
    request.startMs = this.counters.begin(request.opcode)
    return this.answer(request, this.run(request))
  }

  /** Returns the bytes of the reply, 0 for none, or PENDING. */
  private answer(request: Request, result: number): number {
    return result <= POSTPONED ? this.putOff(request, result) : this.finish(request, result)
  }

  /**
   * Serves postponed and held requests that are due. A batch of requests has ended at `nowMs`, and the next one may begin.
   * Returns true if any was answered.
   */
  progress(nowMs: number): boolean {
    this.counters.tick(nowMs)
    const letIn = this.gate?.progress(nowMs, this.serveHeld) === true
    return this.postponed.progress(this.serveAgain) || letIn
  }

  /** Milliseconds until `progress` has work, or -1 for never. */
  nextDueMs(): number {
    const postponedMs = this.postponed.nextDueMs()
    return this.gate === undefined ? postponedMs : sooner(postponedMs, this.gate.nextDueMs())
  }

  /** Serves all held requests, and ends the wait of all postponed ones with the error of an interrupted call. */
  drain(): void {
    this.counters.settle()
    this.gate?.drain(this.serveHeld)
    for (const carrier of this.postponed.takeAll()) {
      this.request.begin(carrier)
      carrier.complete(this.request.fail(-EINTR))
    }
  }

  /** Forgets all held and postponed requests, which are served again from their beginning. */
  forget(): void {
    this.counters.settle()
    this.gate?.forget()
    this.postponed.takeAll()
  }

  /** Keeps a request that cannot run yet, or refuses it. Returns PENDING, or the bytes of its reply. */
  private putOff(request: Request, result: number): number {
    if (result === HELD) return PENDING
    if (result === LEFT) {
      // It is counted there.
      this.counters.withdrawn(request.opcode)
      this.leave?.()
      return PENDING
    }
    return this.postponed.add(request.carrier, request.startMs) ? PENDING : request.fail(-EAGAIN)
  }

  /** Serves a postponed request. Returns true if it is answered, or if its operation will answer it. */
  private readonly serveAgain = (carrier: Carrier, startMs: number): boolean => {
    const { request } = this
    const hasHeader = request.begin(carrier)
    request.startMs = startMs
    const result = hasHeader ? this.runDue(request) : 0
    if (result === POSTPONED) return false
    const writtenBytes = hasHeader ? this.answer(request, result) : this.refuseFrame()
    if (writtenBytes !== PENDING) carrier.complete(writtenBytes)
    return true
  }

  /** Serves a request that the gate has kept. */
  private readonly serveHeld = (carrier: Carrier, sinceMs: number): void => {
    const { request } = this
    const hasHeader = request.begin(carrier)
    request.startMs = this.counters.isTimed ? sinceMs : 0
    const result = hasHeader ? this.runDue(request) : 0
    const writtenBytes = hasHeader ? this.answer(request, result) : this.refuseFrame()
    if (writtenBytes !== PENDING) carrier.complete(writtenBytes)
  }

  private runDue(request: Request): number {
    this.isDue = true
    try {
      return this.run(request)
    } finally {
      this.isDue = false
    }
  }

  /** Sends the result of an operation. Returns the bytes of the reply, 0 for none, or PENDING. */
  private finish(request: Request, result: number): number {
    if (result >= 0) return request.succeed(result) || request.fail(this.refuseReply(request))
    if (result === IN_PLACE) return request.succeedInPlace()
    if (result === PENDING_REPLY) return PENDING
    if (result === NO_REPLY || isForget(request.opcode)) return 0
    return request.fail(result)
  }

  /**
   * Answers a request with unreachable pieces. Returns the bytes of its reply, 0 if it expects none, or PENDING if there is
   * no place for a header. Linux before 7.1 takes an unchanged reply for success, so such a request must never be returned.
   */
  refuse(carrier: Carrier): number {
    const { request } = this
    request.begin(carrier)
    if (isForget(request.opcode)) return 0
    const answered = request.fail(-EIO)
    if (answered > 0) return answered
    this.observer.fault('a request without a reachable reply is never returned', {
      opcode: opcodeName(request.opcode),
    })
    return PENDING
  }

  /** Number of requests to be answered later: by their operations, or by serving them again. */
  get pendingCount(): number {
    return this.request.deferredCount + this.postponed.count + (this.gate?.count ?? 0)
  }

  /** The agreement of the present session; undefined before INIT and after its end. */
  get agreed(): InitAgreement | undefined {
    return this.agreement
  }

  /** Begins a session that another device agreed on. No INIT comes: the guest does not know that it has moved. */
  resume(agreement: InitAgreement): void {
    this.end()
    this.begin(agreement)
  }

  private begin(agreement: InitAgreement): void {
    this.fileSystem.init(agreement)
    this.agreement = agreement
    this.rules = agreedRules(agreement.flags, this.fileSystem.findsItself === true)
    this.looseContexts = has(agreement.flags, InitFlag.SECURITY_CTX)
    this.hasExtensions = this.looseContexts || has(agreement.flags, InitFlag.CREATE_SUPP_GROUP)
    this.observer.agreed(agreement)
  }

  /** Ends the session, as DESTROY does. */
  end(): void {
    const began = this.agreement !== undefined
    this.agreement = undefined
    this.fileSystem.destroy()
    if (began) this.observer.ended?.()
  }

  /** Ends the session for good: from now on every request fails with `errno`, INIT included. */
  shut(errno: number): void {
    this.end()
    this.refuseAll(errno)
  }

  /** From now on every request fails with `errno`, INIT included. Those under way end as they do, and then it is to be shut. */
  refuseAll(errno: number): void {
    this.shutWith = -errno
  }

  /** True once the session is shut. */
  get isShut(): boolean {
    return this.shutWith !== 0
  }

  private run(request: Request): number {
    const { opcode } = request
    if (this.shutWith !== 0) return hasNoReply(opcode) ? NO_REPLY : this.shutWith
    if (this.agreement === undefined && opcode !== Opcode.INIT) {
      this.observer.fault('request before INIT', { opcode: opcodeName(opcode) })
      return -EIO
    }
    const known = this.rules[opcode]
    if (known === undefined) return this.runOwn(request)
    if (known.trailer === Trailer.None) request.takeWhole()
    else if (!request.isWhole) return this.refuseLength(request)
    else if (!this.hasExtensions) request.extensionsAt = request.lenBytes
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
    // A name that is only too long is the user's fault, not the guest kernel's.
    return error === -ENAMETOOLONG ? error : this.refuseArgs(request, 'bad name', error)
  }

  private refuseWithheld(opcode: number): number {
    this.withheld.set(opcode, (this.withheld.get(opcode) ?? 0) + 1)
    this.observer.fault('withheld opcode answered with ENOSYS', { opcode: opcodeName(opcode) })
    return -ENOSYS
  }

  private carryOut(operation: Operation, request: Request): number {
    const { beforeOperation, gate } = this
    if (gate !== undefined && !gate.admit(request, this.isDue)) return HELD
    const refused = beforeOperation === undefined ? 0 : beforeOperation(request)
    return refused < 0 ? refused : operation(request)
  }

  /** Handles opcodes of the session itself, and those without an implementation. */
  private runOwn(request: Request): number {
    switch (request.opcode) {
      case Opcode.INIT:
        if (this.leave !== undefined) return LEFT
        this.beforeChange?.()
        return this.init(request)
      case Opcode.DESTROY:
        if (this.leave !== undefined) return LEFT
        this.beforeChange?.()
        this.end()
        return 0
      case Opcode.INTERRUPT:
      case Opcode.NOTIFY_REPLY:
        // Neither has a reply. INTERRUPT is a hint, and the device cannot interrupt anything.
        return NO_REPLY
      default:
        return -ENOSYS
    }
  }

  /** INIT also ends the previous session: a guest that reboots sends no DESTROY. */
  private init(request: Request): number {
    const { args } = request
    if (request.replyRoomBytes < InitOut.BYTES) return this.refuseReply(request)
    request.takeWhole()
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
      this.observer.fault('INIT of an unknown version, or without a required flag', {
        major: InitIn.major(args, ARGS),
        minor: InitIn.minor(args, ARGS),
        required: `0x${this.wishes.requiredFlags.toString(16)}`,
      })
      return agreement
    }
    this.end()
    InitOut.write(request.reply, 0, agreement.reply)
    // A guest of a later major version sends INIT again with our version. That INIT begins the session.
    if (InitIn.major(args, ARGS) === FUSE_KERNEL_VERSION) this.begin(agreement)
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

  /** Answers a frame that is too short for a header. */
  private refuseFrame(): number {
    return this.request.fail(this.refuseLength(this.request))
  }

  private refuseLength({ carrier, lenBytes }: Request): number {
    this.observer.fault('request of a wrong length', { readableBytes: carrier.readableBytes, lenBytes })
    return -EIO
  }
}

const INIT_EXT = 1 << 30

function hasNoReply(opcode: number): boolean {
  return isForget(opcode) || opcode === Opcode.INTERRUPT || opcode === Opcode.NOTIFY_REPLY
}

function isForget(opcode: number): boolean {
  return opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET
}

import { FUSE_KERNEL_VERSION, Opcode, opcodeName } from './abi.js'
import { Counters } from './counters.js'
import { EINVAL, EIO, ENAMETOOLONG, ENOSYS } from './errno.js'
import type { FileSystem, Operation } from './file-system.js'
import {
  type InitAgreement,
  type InitOverride,
  type InitWishes,
  negotiate,
  noOverride,
} from './negotiation.js'
import { ARGS, type Carrier, IN_PLACE, MAX_ARG_BYTES, NO_REPLY, PENDING_REPLY, Request } from './request.js'
import * as wire from './wire.js'

/** What `Session.process` returns when the reply comes later. */
export const PENDING = -1

/** What stands behind an operation's fixed arguments. */
enum Trailer {
  None,
  /** One name. */
  Name,
  /** Two names. */
  TwoNames,
  /** A name, then a string that may hold slashes: the target of a symbolic link. */
  NameAndText,
  /** Data that stays where it is. */
  Data,
}

interface Rule {
  readonly argBytes: number
  readonly trailer: Trailer
  readonly method: keyof FileSystem
  /** Room without which the operation is not even tried: it could not say what it has granted. */
  readonly writableBytes: number
}

/** `replyBytes`: what a success has behind its header, without data of any length; -1: there is no reply. */
const rule = (
  method: keyof FileSystem,
  argBytes: number,
  replyBytes: number,
  trailer = Trailer.None,
): Rule => ({
  method,
  argBytes,
  trailer,
  writableBytes: replyBytes < 0 ? 0 : wire.OutHeader.BYTES + replyBytes,
})

const ENTRY = wire.EntryOut.BYTES
const ATTR = wire.AttrOut.BYTES
const OPEN = wire.OpenOut.BYTES

const rules: Readonly<Record<number, Rule>> = {
  [Opcode.LOOKUP]: rule('lookup', 0, ENTRY, Trailer.Name),
  [Opcode.FORGET]: rule('forget', wire.ForgetIn.BYTES, -1),
  [Opcode.BATCH_FORGET]: rule('batchForget', wire.BatchForgetIn.BYTES, -1),
  [Opcode.GETATTR]: rule('getattr', wire.GetattrIn.BYTES, ATTR),
  [Opcode.SETATTR]: rule('setattr', wire.SetattrIn.BYTES, ATTR),
  [Opcode.READLINK]: rule('readlink', 0, 0),
  [Opcode.SYMLINK]: rule('symlink', 0, ENTRY, Trailer.NameAndText),
  [Opcode.MKNOD]: rule('mknod', wire.MknodIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.MKDIR]: rule('mkdir', wire.MkdirIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.UNLINK]: rule('unlink', 0, 0, Trailer.Name),
  [Opcode.RMDIR]: rule('rmdir', 0, 0, Trailer.Name),
  [Opcode.RENAME]: rule('rename', wire.RenameIn.BYTES, 0, Trailer.TwoNames),
  [Opcode.RENAME2]: rule('rename2', wire.Rename2In.BYTES, 0, Trailer.TwoNames),
  [Opcode.LINK]: rule('link', wire.LinkIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.OPEN]: rule('open', wire.OpenIn.BYTES, OPEN),
  [Opcode.READ]: rule('read', wire.ReadIn.BYTES, 0),
  [Opcode.WRITE]: rule('write', wire.WriteIn.BYTES, wire.WriteOut.BYTES, Trailer.Data),
  [Opcode.STATFS]: rule('statfs', 0, wire.StatfsOut.BYTES),
  [Opcode.RELEASE]: rule('release', wire.ReleaseIn.BYTES, 0),
  [Opcode.FSYNC]: rule('fsync', wire.FsyncIn.BYTES, 0),
  [Opcode.FLUSH]: rule('flush', wire.FlushIn.BYTES, 0),
  [Opcode.OPENDIR]: rule('opendir', wire.OpenIn.BYTES, OPEN),
  [Opcode.READDIR]: rule('readdir', wire.ReadIn.BYTES, 0),
  [Opcode.READDIRPLUS]: rule('readdirplus', wire.ReadIn.BYTES, 0),
  [Opcode.RELEASEDIR]: rule('releasedir', wire.ReleaseIn.BYTES, 0),
  [Opcode.FSYNCDIR]: rule('fsyncdir', wire.FsyncIn.BYTES, 0),
  [Opcode.ACCESS]: rule('access', wire.AccessIn.BYTES, 0),
  [Opcode.CREATE]: rule('create', wire.CreateIn.BYTES, ENTRY + OPEN, Trailer.Name),
  [Opcode.FALLOCATE]: rule('fallocate', wire.FallocateIn.BYTES, 0),
  [Opcode.LSEEK]: rule('lseek', wire.LseekIn.BYTES, wire.LseekOut.BYTES),
  [Opcode.COPY_FILE_RANGE]: rule('copyFileRange', wire.CopyFileRangeIn.BYTES, wire.WriteOut.BYTES),
  [Opcode.SYNCFS]: rule('syncfs', wire.SyncfsIn.BYTES, 0),
}

const OPCODE_COUNT = 64
const NAME_MAX_BYTES = 255
const SLASH = 0x2f
const DOT = 0x2e

/** What a session tells whoever runs it. */
export interface SessionObserver {
  /** A session began. */
  agreed(agreement: InitAgreement): void
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
  private readonly rules: (Rule | undefined)[] = new Array(OPCODE_COUNT).fill(undefined)
  private agreement: InitAgreement | undefined
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
    private readonly fileSystem: FileSystem,
    private readonly wishes: InitWishes,
    private readonly observer: SessionObserver,
    readonly counters = new Counters(),
  ) {
    this.request = new Request(counters)
    for (const [opcode, known] of Object.entries(rules)) {
      const operation = fileSystem[known.method] as Operation | undefined
      this.rules[Number(opcode)] = known
      this.operations[Number(opcode)] = operation?.bind(fileSystem)
    }
  }

  /** Serves one request. Returns the bytes of its reply, 0 for none, or PENDING. */
  process(carrier: Carrier): number {
    const { request } = this
    if (!request.begin(carrier)) return this.refuseFrame(carrier)
    this.counters.asked(request.opcode)
    const result = this.run(request)
    if (result >= 0) return request.succeed(result) || request.fail(this.refuseReply(request))
    if (result === IN_PLACE) return request.succeedInPlace()
    if (result === PENDING_REPLY) return PENDING
    if (result === NO_REPLY || isForget(request.opcode)) return 0
    return request.fail(result)
  }

  /** Ends the session, as DESTROY does. */
  end(): void {
    this.agreement = undefined
    this.fileSystem.destroy()
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
    const error = checkTrailer(request, known)
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
    const { InitIn, InitOut } = wire
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
      this.observer.fault('INIT of an unknown version', {
        major: InitIn.major(args, ARGS),
        minor: InitIn.minor(args, ARGS),
      })
      return agreement
    }
    this.end()
    InitOut.write(request.reply, 0, agreement.reply)
    // A guest of a later major version asks again in ours: only that begins a session.
    if (InitIn.major(args, ARGS) === FUSE_KERNEL_VERSION) {
      this.fileSystem.init(agreement)
      this.agreement = agreement
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

  /** A frame whose length makes no sense is answered if it has a header to answer to. */
  private refuseFrame(carrier: Carrier): number {
    const { request } = this
    const fields = { readableBytes: carrier.readableBytes, lenBytes: request.lenBytes }
    this.observer.fault('request of a wrong length', fields)
    if (carrier.readableBytes < wire.InHeader.BYTES || isForget(request.opcode)) return 0
    return request.fail(-EIO)
  }
}

const INIT_EXT = 1 << 30

function isForget(opcode: number): boolean {
  return opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET
}

/** Checks the strings behind the fixed arguments; nothing but extensions may follow them. 0 or a negative errno. */
function checkTrailer(request: Request, known: Rule): number {
  const { argBytes, extensionsAt: end } = request
  request.nameAt = ARGS + known.argBytes
  let next = endOfName(argBytes, request.nameAt, end)
  if (next < 0) return next
  request.secondNameAt = next
  if (known.trailer === Trailer.TwoNames) next = endOfName(argBytes, next, end)
  else if (known.trailer === Trailer.NameAndText) next = endOfText(argBytes, next, end)
  if (next < 0) return next
  return next === end ? 0 : -EINVAL
}

/**
 * Checks one path component that starts at `at`: not empty, no slash, not "." or "..", at most 255 bytes, ended by a NUL
 * before `end`. Returns the byte behind the NUL, or a negative errno.
 */
function endOfName(bytes: Uint8Array, at: number, end: number): number {
  let n = at
  for (; n < end; n++) {
    const byte = bytes[n]
    if (byte === 0) break
    if (byte === SLASH) return -EINVAL
  }
  const lenBytes = n - at
  if (n >= end || lenBytes === 0) return -EINVAL
  if (lenBytes > NAME_MAX_BYTES) return -ENAMETOOLONG
  if (bytes[at] === DOT && (lenBytes === 1 || (lenBytes === 2 && bytes[at + 1] === DOT))) return -EINVAL
  return n + 1
}

/** The byte behind the NUL of a text that is not empty and ends before `end`, or -EINVAL. */
function endOfText(bytes: Uint8Array, at: number, end: number): number {
  const nul = bytes.indexOf(0, at)
  return nul > at && nul < end ? nul + 1 : -EINVAL
}

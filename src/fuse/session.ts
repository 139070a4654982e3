import { Opcode, opcodeName } from './abi.js'
import { EINVAL, EIO, ENAMETOOLONG, ENOSYS } from './errno.js'
import type { FileSystem, Operation } from './file-system.js'
import { type InitAgreement, type InitWishes, negotiate } from './negotiation.js'
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
}

const rule = (method: keyof FileSystem, argBytes: number, trailer = Trailer.None): Rule => ({
  method,
  argBytes,
  trailer,
})

const rules: Readonly<Record<number, Rule>> = {
  [Opcode.LOOKUP]: rule('lookup', 0, Trailer.Name),
  [Opcode.FORGET]: rule('forget', wire.ForgetIn.BYTES),
  [Opcode.BATCH_FORGET]: rule('batchForget', wire.BatchForgetIn.BYTES),
  [Opcode.GETATTR]: rule('getattr', wire.GetattrIn.BYTES),
  [Opcode.SETATTR]: rule('setattr', wire.SetattrIn.BYTES),
  [Opcode.READLINK]: rule('readlink', 0),
  [Opcode.SYMLINK]: rule('symlink', 0, Trailer.NameAndText),
  [Opcode.MKNOD]: rule('mknod', wire.MknodIn.BYTES, Trailer.Name),
  [Opcode.MKDIR]: rule('mkdir', wire.MkdirIn.BYTES, Trailer.Name),
  [Opcode.UNLINK]: rule('unlink', 0, Trailer.Name),
  [Opcode.RMDIR]: rule('rmdir', 0, Trailer.Name),
  [Opcode.RENAME]: rule('rename', wire.RenameIn.BYTES, Trailer.TwoNames),
  [Opcode.RENAME2]: rule('rename2', wire.Rename2In.BYTES, Trailer.TwoNames),
  [Opcode.LINK]: rule('link', wire.LinkIn.BYTES, Trailer.Name),
  [Opcode.OPEN]: rule('open', wire.OpenIn.BYTES),
  [Opcode.READ]: rule('read', wire.ReadIn.BYTES),
  [Opcode.WRITE]: rule('write', wire.WriteIn.BYTES, Trailer.Data),
  [Opcode.STATFS]: rule('statfs', 0),
  [Opcode.RELEASE]: rule('release', wire.ReleaseIn.BYTES),
  [Opcode.FSYNC]: rule('fsync', wire.FsyncIn.BYTES),
  [Opcode.FLUSH]: rule('flush', wire.FlushIn.BYTES),
  [Opcode.OPENDIR]: rule('opendir', wire.OpenIn.BYTES),
  [Opcode.READDIR]: rule('readdir', wire.ReadIn.BYTES),
  [Opcode.READDIRPLUS]: rule('readdirplus', wire.ReadIn.BYTES),
  [Opcode.RELEASEDIR]: rule('releasedir', wire.ReleaseIn.BYTES),
  [Opcode.FSYNCDIR]: rule('fsyncdir', wire.FsyncIn.BYTES),
  [Opcode.ACCESS]: rule('access', wire.AccessIn.BYTES),
  [Opcode.CREATE]: rule('create', wire.CreateIn.BYTES, Trailer.Name),
  [Opcode.FALLOCATE]: rule('fallocate', wire.FallocateIn.BYTES),
  [Opcode.LSEEK]: rule('lseek', wire.LseekIn.BYTES),
  [Opcode.COPY_FILE_RANGE]: rule('copyFileRange', wire.CopyFileRangeIn.BYTES),
  [Opcode.SYNCFS]: rule('syncfs', wire.SyncfsIn.BYTES),
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
  private readonly request = new Request()
  private readonly operations: (Operation | undefined)[] = new Array(OPCODE_COUNT).fill(undefined)
  private readonly rules: (Rule | undefined)[] = new Array(OPCODE_COUNT).fill(undefined)
  private agreement: InitAgreement | undefined

  constructor(
    private readonly fileSystem: FileSystem,
    private readonly wishes: InitWishes,
    private readonly observer: SessionObserver,
  ) {
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
    const result = this.run(request)
    if (result >= 0) return request.succeed(result)
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
    const loaded = request.loadArgs(known.trailer === Trailer.Data ? known.argBytes : MAX_ARG_BYTES + 1)
    if (loaded < known.argBytes) return this.refuseArgs(request, 'arguments too short or too long', -EINVAL)
    if (known.trailer === Trailer.None || known.trailer === Trailer.Data) return operation(request)
    const error = checkTrailer(request, known)
    if (error === 0) return operation(request)
    // A name that is only too long is the user's mistake, not the guest kernel's.
    return error === -ENAMETOOLONG ? error : this.refuseArgs(request, 'bad name', error)
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
    )
    if (typeof agreement === 'number') {
      this.observer.fault('INIT of an unknown version', {
        major: InitIn.major(args, ARGS),
        minor: InitIn.minor(args, ARGS),
      })
      return agreement
    }
    this.end()
    this.fileSystem.init(agreement)
    this.agreement = agreement
    this.observer.agreed(agreement)
    InitOut.write(request.reply, 0, agreement.reply)
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

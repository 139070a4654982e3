import { InitFlag, Opcode, opcodeName } from '../fuse/abi.js'
import { type InitOverride, noOverride } from '../fuse/negotiation.js'
import type { FaultReport } from '../inspect/fault-rule.js'
import { checkFaultSpec, FaultSpecError } from '../inspect/fault-spec.js'
import type { InodeReport } from '../inspect/inode-activity.js'
import { compileGlob } from '../io-mode/open-rules.js'
import type { FsDevice } from './fs-device.js'
import type { ShareCommandName, WorkerCommand } from './worker-messages.js'

/** A command with an argument that makes no sense; nothing has been changed. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

/** Which inodes `inodes` reports: the `top` of a sorting, of those whose path matches. */
interface InodesQuery {
  readonly top?: number
  readonly sort?: string
  readonly path?: string
}

const DEFAULT_TOP = 20
const MAX_TOP = 10_000
/** Each request is compared with each of them. */
const MAX_FAULTS = 1000

const sortKeys = {
  overlap: (inode: InodeReport) => inode.highestOverlap,
  writes: (inode: InodeReport) => inode.cachedWrites + inode.directWrites,
  reads: (inode: InodeReport) => inode.reads,
  opens: (inode: InodeReport) => Object.values(inode.opens).reduce((sum, count) => sum + count, 0),
} as const

/** What can be asked of one share while it runs. */
export class ShareCommands {
  private readonly handlers: Readonly<Record<ShareCommandName, (argument: unknown) => unknown>>

  constructor(
    private readonly device: FsDevice,
    private readonly unsafeFaults: boolean,
    startTrace: (on: boolean) => void,
    state: () => object,
  ) {
    const { interceptor } = device
    this.handlers = {
      state,
      inspect: (on) => {
        interceptor.inspect(checkedFlag(on))
        return { inspecting: interceptor.isInspecting }
      },
      inodes: (query) => this.inodes(query),
      latency: () => interceptor.latencies.report(),
      reset: () => {
        interceptor.activity.resetCounts()
        interceptor.latencies.reset()
        return {}
      },
      'fault-add': (spec) => this.addFault(spec),
      'fault-list': () => interceptor.faultReports(),
      'fault-remove': (id) => {
        if (typeof id !== 'number' || !interceptor.removeFault(id))
          throw new CommandError(`no fault has number ${id}`)
        return { removed: id }
      },
      'fault-clear': () => ({ removed: interceptor.clearFaults() }),
      release: () => ({ released: interceptor.release() }),
      withhold: (names) => this.withhold(names),
      init: (override) => this.overrideInit(override),
      trace: (on) => {
        startTrace(checkedFlag(on))
        return {}
      },
    }
  }

  /** Carries a command out. Throws CommandError or FaultSpecError for a bad argument. */
  run({ name, argument }: WorkerCommand): unknown {
    return this.handlers[name](argument)
  }

  private addFault(spec: unknown): FaultReport {
    const { interceptor } = this.device
    if (interceptor.faultReports().length >= MAX_FAULTS)
      throw new CommandError(`${MAX_FAULTS} faults are in force: remove some`)
    return interceptor.addFault(checkFaultSpec(spec, this.unsafeFaults))
  }

  private inodes(argument: unknown): readonly InodeReport[] {
    const { interceptor } = this.device
    if (!interceptor.isInspecting) throw new CommandError('the share is not inspected: say "inspect" first')
    const { top = DEFAULT_TOP, sort = 'overlap', path } = (argument ?? {}) as InodesQuery
    if (!Number.isInteger(top) || top < 1 || top > MAX_TOP)
      throw new CommandError(`top is a number from 1 to ${MAX_TOP}`)
    if (!Object.hasOwn(sortKeys, sort))
      throw new CommandError(`sort is one of ${Object.keys(sortKeys).join(', ')}`)
    const matches = path === undefined ? () => true : globFor(path)
    const key = sortKeys[sort as keyof typeof sortKeys]
    return interceptor.activity
      .report()
      .filter((inode) => path === undefined || (inode.path !== undefined && matches(inode.path)))
      .sort((a, b) => key(b) - key(a))
      .slice(0, top)
  }

  /** Answers opcodes with ENOSYS from now on: exactly those named. */
  private withhold(names: unknown): object {
    const opcodes = opcodeNumbers(names)
    const { withheld } = this.device.session
    withheld.clear()
    for (const opcode of opcodes) withheld.add(opcode)
    return { withheld: opcodes.map(opcodeName) }
  }

  /** Replaces what the next INIT agrees on. */
  private overrideInit(argument: unknown): object {
    this.device.session.initOverride = parseInitOverride(argument)
    return { nextInit: argument ?? {} }
  }
}

/** Reads { on, off: flag names, minor }. Throws CommandError. */
export function parseInitOverride(argument: unknown): InitOverride {
  if (argument === undefined || argument === null) return noOverride
  const { on, off, minor } = argument as { on?: unknown; off?: unknown; minor?: unknown }
  if (minor !== undefined && (!Number.isInteger(minor) || (minor as number) < 0)) {
    throw new CommandError('minor is a whole number')
  }
  return { on: flagBits(on), off: flagBits(off), minor: minor as number | undefined }
}

/** The numbers of opcodes by name. Throws CommandError. */
export function opcodeNumbers(names: unknown): number[] {
  return namesToNumbers(names, Opcode, 'opcode')
}

function flagBits(names: unknown): bigint {
  if (names === undefined) return 0n
  return namesToNumbers(names, InitFlag, 'INIT flag').reduce((word, bit) => word | (1n << BigInt(bit)), 0n)
}

function namesToNumbers(names: unknown, table: Readonly<Record<string, number>>, what: string): number[] {
  if (!Array.isArray(names)) throw new CommandError(`expected a list of ${what} names`)
  return names.map((name) => {
    if (typeof name !== 'string' || !Object.hasOwn(table, name))
      throw new CommandError(`no such ${what}: '${name}'`)
    return table[name]
  })
}

function checkedFlag(value: unknown): boolean {
  if (typeof value !== 'boolean') throw new CommandError('expected true or false')
  return value
}

function globFor(path: string): (path: string) => boolean {
  try {
    return compileGlob(path)
  } catch (error) {
    throw new CommandError(`bad glob '${path}': ${(error as Error).message}`)
  }
}

/** Whether an error says what was wrong with a command, rather than with us. */
export function isRefusal(error: unknown): error is Error {
  return error instanceof CommandError || error instanceof FaultSpecError
}

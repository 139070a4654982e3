import { opcodeName } from 'virtio-fs-ts/protocol'
import { hasName } from '../basics/has-name.js'
import type { FaultReport } from '../inspect/fault-rule.js'
import { checkFaultSpec } from '../inspect/fault-spec.js'
import type { InodeReport } from '../inspect/inode-activity.js'
import { totalOf } from '../inspect/inode-totals.js'
import {
  CommandError,
  checkedFlag,
  checkedNumber,
  checkedObject,
  globFor,
  opcodeNumbers,
} from './command-arguments.js'
import { describeInitOverride, parseInitOverride } from './init-override.js'
import type { ShareDevice } from './make-fs-device.js'
import type { ShareFigures } from './share-figures.js'
import type { ShareCommandName } from './worker-messages.js'

const DEFAULT_TOP = 20
const MAX_TOP = 10_000
/** A limit, because each request is compared with each fault. */
const MAX_FAULTS = 1000

const sortKeys = {
  overlap: (inode: InodeReport) => inode.highestOverlap,
  writes: (inode: InodeReport) => inode.cachedWrites + inode.directWrites,
  reads: (inode: InodeReport) => inode.reads,
  opens: (inode: InodeReport) => Object.values(inode.opens).reduce((sum, count) => sum + count, 0),
} as const

/** Answers commands about one running share. */
export class ShareCommands {
  private readonly handlers: Readonly<Record<ShareCommandName, (argument: unknown) => unknown>>

  constructor(
    private readonly device: ShareDevice,
    private readonly unsafeFaults: boolean,
    startTrace: (on: boolean) => void,
    state: () => object,
    figures: () => ShareFigures,
  ) {
    const { interceptor } = device
    this.handlers = {
      state,
      figures,
      inspect: (on) => {
        interceptor.inspect(checkedFlag(on))
        return { inspecting: interceptor.isInspecting }
      },
      inodes: (query) => this.inodes(query),
      totals: () => totalOf(this.inspected()),
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
      limits: (change) => {
        if (change !== undefined) device.limits.change(change)
        return device.limits.report()
      },
      locks: () => device.reports?.locks() ?? { waiting: [], held: [] },
      'locks-release': (id) => ({ released: device.reports?.releaseLocks(checkedNumber(id)) ?? 0 }),
      trace: (on) => {
        startTrace(checkedFlag(on))
        return {}
      },
    }
  }

  /** Runs a command. Throws CommandError or FaultSpecError for a bad argument. */
  run(name: ShareCommandName, argument: unknown): unknown {
    return this.handlers[name](argument)
  }

  private addFault(spec: unknown): FaultReport {
    const { interceptor } = this.device
    if (interceptor.faultReports().length >= MAX_FAULTS)
      throw new CommandError(`${MAX_FAULTS} faults are in force: remove some`)
    return interceptor.addFault(checkFaultSpec(spec, this.unsafeFaults))
  }

  private inspected(): InodeReport[] {
    const { interceptor } = this.device
    if (!interceptor.isInspecting)
      throw new CommandError('the share is not inspected: send "inspect on" first')
    return interceptor.activity.report()
  }

  /** Returns the first `top` inodes, sorted, of those whose path matches. */
  private inodes(argument: unknown): readonly InodeReport[] {
    const { top = DEFAULT_TOP, sort = 'overlap', path, ...others } = checkedObject(argument)
    for (const key of Object.keys(others)) throw new CommandError(`unknown key '${key}': top, sort and path`)
    if (typeof top !== 'number' || !Number.isInteger(top) || top < 1 || top > MAX_TOP)
      throw new CommandError(`top is a number from 1 to ${MAX_TOP}`)
    if (typeof sort !== 'string' || !hasName(sortKeys, sort))
      throw new CommandError(`sort is one of ${Object.keys(sortKeys).join(', ')}`)
    if (path !== undefined && typeof path !== 'string') throw new CommandError('path is a glob')
    const matches = path === undefined ? () => true : globFor(path)
    const key = sortKeys[sort]
    return this.inspected()
      .filter((inode) => path === undefined || (inode.path !== undefined && matches(inode.path)))
      .sort((a, b) => key(b) - key(a))
      .slice(0, top)
  }

  /** Answers exactly the named opcodes with ENOSYS from now on. */
  private withhold(names: unknown): object {
    const opcodes = opcodeNumbers(names)
    const { withheld } = this.device.session
    withheld.clear()
    for (const opcode of opcodes) withheld.set(opcode, 0)
    return { withheld: opcodes.map(opcodeName) }
  }

  /** Replaces the outcome of the next INIT. */
  private overrideInit(argument: unknown): object {
    const override = parseInitOverride(argument)
    this.device.session.initOverride = override
    return { nextInit: describeInitOverride(override) ?? {} }
  }
}

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import {
  errnoNumber,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_PARALLEL_DIRECT_WRITES,
  initFlagNames,
  Opcode,
} from 'virtio-fs-ts/protocol'
import type { FaultSpec } from '../../../src/inspect/fault-spec.js'
import type { InodeReport } from '../../../src/inspect/inode-activity.js'
import type { TimedRequest } from '../../../src/inspect/trace-reader.js'
import { DeviceProcess } from '../../device/device-process.js'
import type { Conversation } from '../../guest/conversation.js'
import type { Guest } from '../../guest/guest.js'
import type { Share } from '../../guest/qemu.js'
import { makeTemporaryDir } from '../../host/temporary-dir.js'
import type { OptionSet, ShareName } from '../option-sets.js'
import { type LabServer, NeedsOwnDevice, type OpenMode, type ShareState } from './lab-server.js'

/** Our device gives the guest the folder that the guest's servers serve. */
const BACKING = 'backing'
/** uapi fuse.h, 7.40. */
const FOPEN_PASSTHROUGH = 1 << 7
/** fuse-server's own: the open has a backing file of its own. */
const OTHER_BACKING = 1 << 30

/** FOPEN flags of each mode, for the order `open-flags`. */
const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  cached: 0,
  direct: FOPEN_DIRECT_IO,
  parallel: FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES,
  passthrough: FOPEN_PASSTHROUGH,
  'passthrough+direct': FOPEN_PASSTHROUGH | FOPEN_DIRECT_IO,
  'passthrough+keep': FOPEN_PASSTHROUGH | FOPEN_KEEP_CACHE,
  'passthrough to another file': FOPEN_PASSTHROUGH | OTHER_BACKING,
}

const O_RDWR = 2

/**
 * vm/guest/programs/fuse-server: the same shares by /dev/fuse, without virtio. A process for each share serves a folder of a
 * virtio-fs share, so the host sees its files as those of the other servers.
 */
export class DevFuseServer implements LabServer {
  readonly isVirtio = false
  private readonly servers = new Map<ShareName, Conversation>()
  private readonly clockAheadMs = new Map<ShareName, number>()
  private hasBacking = false

  private constructor(
    private readonly dir: { path: string; remove: () => void },
    private readonly device: DeviceProcess,
    readonly sets: readonly OptionSet[],
  ) {}

  static async start(sets: readonly OptionSet[]): Promise<DevFuseServer> {
    const dir = makeTemporaryDir()
    for (const { name } of sets) mkdirSync(join(dir.path, name))
    const args = ['--cache', 'never', '--keep-alive']
    const device = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: dir.path, args })
    return new DevFuseServer(dir, device, sets)
  }

  get commandLines(): readonly (readonly string[])[] {
    const inGuest = this.sets.map((set) => [
      ...['fuse-server', `/${BACKING}/${set.name}`, `/${set.name}`],
      ...wordsOf(set),
    ])
    return [this.device.commandLine, ...inGuest]
  }

  get shares(): Share[] {
    return [{ tag: BACKING, socketPath: this.device.socketPath }]
  }

  directoryOf(share: ShareName): string {
    return join(this.dir.path, share)
  }

  async mount(guest: Guest, set: OptionSet): Promise<ShareState> {
    if (!this.hasBacking) await guest.mount(BACKING, `/${BACKING}`)
    this.hasBacking = true
    await guest.output(`mkdir -p /${set.name}`)
    const words = wordsOf(set).join(' ')
    this.servers.set(
      set.name,
      guest.converse(`exec fuse-server /${BACKING}/${set.name} /${set.name} ${words}`),
    )
    // Its first answer comes after the mount.
    await this.order(set.name, 'served')
    await guest.output(`stat /${set.name}`)
    return this.stateOf(set.name)
  }

  async ask<T>(share: ShareName, command: string, argument?: unknown): Promise<T> {
    // The callers know what each command returns, as with our device.
    return (await this.obey(share, command, argument)) as T
  }

  async openFlags(share: ShareName, mode: OpenMode): Promise<number | undefined> {
    await this.order(share, `open-flags ${OPEN_FLAGS[mode]}`)
    return O_RDWR
  }

  async startTrace(share: ShareName): Promise<void> {
    await this.order(share, 'open-flags -1')
    const { nowMs } = await this.order<{ nowMs: number }>(share, 'trace on')
    this.clockAheadMs.set(share, nowMs - (performance.timeOrigin + performance.now()))
  }

  async endTrace(share: ShareName): Promise<TimedRequest[]> {
    await this.order(share, 'trace off')
    const { lost, requests } = await this.order<{ lost: number; requests: GuestRequest[] }>(share, 'trace')
    if (lost > 0) throw new Error(`the trace lacks its last ${lost} requests`)
    const aheadMs = this.clockAheadMs.get(share) ?? 0
    return requests.map((request) => timedRequest(request, aheadMs))
  }

  async stop(): Promise<void> {
    await this.device.stop()
    this.dir.remove()
  }

  private async order<T>(share: ShareName, line: string): Promise<T> {
    const answer = JSON.parse(await this.servers.get(share)!.ask(line)) as { error?: string }
    if (answer.error !== undefined) throw new Error(`fuse-server, ${line}: ${answer.error}`)
    return answer as T
  }

  private async stateOf(share: ShareName): Promise<ShareState> {
    const { minor, flags } = await this.order<{ minor: number; flags: [number, number] }>(share, 'state')
    const [low, high] = flags
    return { guest: `7.${minor}`, flags: initFlagNames((BigInt(high) << 32n) | BigInt(low)) }
  }

  private async obey(share: ShareName, command: string, argument: unknown): Promise<unknown> {
    switch (command) {
      case 'fault-add':
        return this.order(share, `fault ${faultWords(argument as FaultSpec)}`)
      case 'fault-clear':
        return this.order(share, 'clear')
      case 'fault-list': {
        const { applied } = await this.order<{ applied: number[] }>(share, 'faults')
        return applied.map((count) => ({ applied: count }))
      }
      case 'release':
      case 'reset':
        return this.order(share, command)
      case 'latency':
        return this.order(share, 'served')
      case 'state':
        return this.stateOf(share)
      case 'inodes':
        return [await this.countsOf(share, (argument as { path: string }).path)]
      default:
        throw new NeedsOwnDevice(`needs our device: ${command}`)
    }
  }

  private async countsOf(share: ShareName, path: string): Promise<InodeReport> {
    const counts = await this.order<
      Pick<InodeReport, 'reads' | 'cachedWrites' | 'directWrites' | 'writesInFlight' | 'highestOverlap'>
    >(share, `counts ${path}`)
    return { path, nodeid: 0, overlappedWrites: 0, opens: {}, openNow: 0, loneWrites: {}, ...counts }
  }
}

function wordsOf({ options, rules = [] }: OptionSet): string[] {
  const { cache } = options
  const seconds = cache === 'never' ? 0 : cache === 'auto' ? 1 : 86_400
  const flags: Readonly<Record<string, boolean>> = {
    direct: cache === 'never' || cache === 'metadata',
    parallel: options['parallel-dio'] === true,
    mmap: options['allow-mmap'] === true,
    noasync: options['init-off'] === 'ASYNC_DIO',
    writeback: options.writeback === true,
    keep: options['keep-cache'] === true || cache === 'always' || cache === 'metadata',
    // As our device does with `--cache auto`.
    'keep-unchanged': cache === 'auto' && options['keep-cache'] === undefined,
    'cache-dir': cache === 'always' || cache === 'metadata',
    passthrough: options.passthrough === true,
  }
  const readers = rules.find((rule) => rule['read-only'] === true)?.match.replace(/\*$/, '')
  return [
    ...Object.entries(flags).flatMap(([word, isSet]) => (isSet ? [word] : [])),
    `attr=${options['attr-timeout'] ?? seconds}`,
    `entry=${seconds}`,
    ...(readers === undefined ? [] : [`cached-readers=${readers}`]),
  ]
}

function faultWords({ opcodes, path, hold, errno, shortBytes, delay, limit = 0 }: FaultSpec): string {
  const target = `${Opcode[opcodes![0]!]} ${path === undefined || path === '**' ? '*' : path}`
  if (hold !== undefined) return `${target} hold ${hold.until} 0`
  if (errno !== undefined) return `${target} errno ${errnoNumber(errno)} ${limit}`
  if (shortBytes !== undefined) return `${target} short ${shortBytes} ${limit}`
  if (delay !== undefined) return `${target} count 0 0`
  throw new NeedsOwnDevice('needs our device: the kernel refuses broken replies at /dev/fuse')
}

/** A request as fuse-server prints it. Times are of the guest's clock. */
interface GuestRequest {
  readonly opcode: number
  readonly nodeid: number
  readonly unique: number
  readonly path: string
  readonly seenMs: number
  readonly tookMs: number
  readonly offsetBytes: number
  readonly sizeBytes: number
  readonly handle: number
  readonly flags: number
  readonly detailFlags: number
  readonly openFlags: number
  readonly pid: number
  readonly error: number
  readonly replyBytes: number
}

function timedRequest({ tookMs, ...request }: GuestRequest, clockAheadMs: number): TimedRequest {
  return {
    request: { ...request, queue: 0, latencyUs: tookMs * 1000, overlap: 1, faultId: 0 },
    epochMs: request.seenMs - clockAheadMs,
  }
}

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type DeviceName, DeviceProcess } from '../../device/device-process.js'
import type { Guest } from '../../guest/guest.js'
import type { Share } from '../../guest/qemu.js'
import { makeTemporaryDir } from '../../host/temporary-dir.js'
import { type OptionSet, optionSet, type ShareName } from '../option-sets.js'
import { type LabServer, NeedsOwnDevice, type ShareState } from './lab-server.js'
import { OwnDevice } from './own-device.js'

/** Another virtio-fs device, one process a share. Ours stands beside it and says which version and flags the guest has. */
export class PeerDevices implements LabServer {
  readonly isVirtio = true
  private known: ShareState | undefined

  private constructor(
    private readonly dir: { path: string; remove: () => void },
    private readonly processes: ReadonlyMap<ShareName, DeviceProcess>,
    private readonly own: OwnDevice,
    readonly sets: readonly OptionSet[],
  ) {}

  static async start(device: DeviceName, sets: readonly OptionSet[]): Promise<PeerDevices> {
    const dir = makeTemporaryDir()
    const processes = new Map<ShareName, DeviceProcess>()
    for (const { name, options } of sets) {
      const sharedDir = join(dir.path, name)
      mkdirSync(sharedDir)
      processes.set(
        name,
        await DeviceProcess.start({ device, sharedDir, args: argumentsOf(device, options) }),
      )
    }
    return new PeerDevices(dir, processes, await OwnDevice.start([optionSet(WITNESS)]), sets)
  }

  get commandLines(): readonly (readonly string[])[] {
    return [...this.processes.values()].map(({ commandLine }) => commandLine)
  }

  get shares(): Share[] {
    const own = this.own.shares.map((share) => ({ ...share, tag: WITNESS_TAG }))
    const peers = [...this.processes].map(([tag, { socketPath }]) => ({ tag, socketPath }))
    return [...peers, ...own]
  }

  directoryOf(share: ShareName): string {
    return join(this.dir.path, share)
  }

  async mount(guest: Guest, { name, options }: OptionSet): Promise<ShareState> {
    await guest.mount(name, `/${name}`)
    await guest.output(`stat /${name}`)
    const { guest: version, flags } = await this.witness(guest)
    return {
      guest: version,
      flags: flags.filter((flag) => flag !== MMAP_FLAG || options['allow-mmap'] === true),
    }
  }

  async ask<T>(_share: ShareName, command: string): Promise<T> {
    throw new NeedsOwnDevice(`needs our device: ${command}`)
  }

  async openFlags(): Promise<undefined> {
    return undefined
  }

  async startTrace(): Promise<void> {}

  async endTrace(): Promise<undefined> {
    return undefined
  }

  async stop(): Promise<void> {
    for (const process of this.processes.values()) await process.stop()
    await this.own.stop()
    this.dir.remove()
  }

  private async witness(guest: Guest): Promise<ShareState> {
    if (this.known !== undefined) return this.known
    await guest.mount(WITNESS_TAG, `/${WITNESS_TAG}`)
    await guest.output(`stat /${WITNESS_TAG}`)
    this.known = await this.own.ask<ShareState>(WITNESS, 'state')
    return this.known
  }
}

/** The set with which our device learns what the guest can do. */
const WITNESS: ShareName = 'mmap'
const WITNESS_TAG = 'witness'
const MMAP_FLAG = 'DIRECT_IO_ALLOW_MMAP'

function argumentsOf(device: DeviceName, options: OptionSet['options']): string[] {
  if (device === 'virtiofsd-c') {
    const words = [`cache=${options.cache === 'never' ? 'none' : options.cache}`]
    return ['-o', [...words, ...(options.writeback === true ? ['writeback'] : [])].join(',')]
  }
  return Object.entries(options).flatMap(([name, value]) =>
    value === true ? [`--${name}`] : [`--${name}`, `${value}`],
  )
}

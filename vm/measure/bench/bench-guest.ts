import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { ControlClient } from '../../device/control-client.js'
import { DeviceProcess } from '../../device/device-process.js'
import { bootGuest, type Guest } from '../../guest/guest.js'
import { makeTemporaryDir } from '../../host/temporary-dir.js'
import { type Peer, peerArguments } from './peer.js'
import type { Policy } from './plan.js'
import type { Side } from './side.js'

export interface BenchGuestOptions {
  policies: readonly Policy[]
  /** The peer device; undefined: ours runs alone. */
  peer?: Peer | undefined
  /** More options for our device. */
  ourArgs: readonly string[]
  /** A folder for all shares, so that they lie on one file system. */
  dir: string
  kernel?: string | undefined
  modulesDir?: string | undefined
  qemu?: string | undefined
}

const MEMORY_MIB = 1024

/** A guest with two shares for every policy, ours and the peer's, both mounted. */
export class BenchGuest {
  private constructor(
    readonly guest: Guest,
    private readonly sides: ReadonlyMap<string, readonly Side[]>,
    private readonly removeFiles: () => void,
  ) {}

  static async start(options: BenchGuestOptions): Promise<BenchGuest> {
    const { path: root, remove: removeFiles } = makeTemporaryDir(options.dir)
    const sides = new Map<string, Side[]>()
    for (const policy of options.policies) sides.set(policy.name, await startSides(policy, root, options))
    const all = [...sides.values()].flat()
    const { kernel, modulesDir, qemu } = options
    const guest = await bootGuest({
      kernel,
      modulesDir,
      qemu,
      memoryMiB: MEMORY_MIB,
      programs: ['fio', 'git'],
      shares: all.map(({ guestDir, device }) => ({ tag: guestDir.slice(1), socketPath: device.socketPath })),
    })
    for (const { guestDir } of all) await guest.mount(guestDir.slice(1), guestDir)
    return new BenchGuest(guest, sides, removeFiles)
  }

  /** Returns our side, and the peer's if there is one. */
  sidesOf(policy: Policy): readonly Side[] {
    return this.sides.get(policy.name) ?? []
  }

  async stop(): Promise<void> {
    await this.guest.shutdown()
    for (const { device, control } of [...this.sides.values()].flat()) {
      control?.close()
      await device.stop()
    }
    this.removeFiles()
  }
}

async function startSides(policy: Policy, root: string, options: BenchGuestOptions): Promise<Side[]> {
  const { peer, ourArgs } = options
  const controlPath = join(root, `${policy.name}.ctl`)
  const args = [...policy.ours, '--control-socket', controlPath, ...ourArgs]
  const ours = await startSide('ours', { device: 'virtiofsd-ts' }, args, policy, root)
  const control = await ControlClient.connect(controlPath)
  const theirs = peer === undefined ? undefined : peerArguments(peer, policy)
  if (peer === undefined || theirs === undefined) return [{ ...ours, control }]
  return [{ ...ours, control }, await startSide('peer', peer, theirs, policy, root)]
}

async function startSide(
  who: Side['who'],
  program: Peer,
  args: string[],
  { name }: Policy,
  root: string,
): Promise<Side> {
  const hostDir = join(root, `${name}-${who}`)
  mkdirSync(hostDir)
  const device = await DeviceProcess.start({ ...program, sharedDir: hostDir, args })
  return { who, device, hostDir, guestDir: `/${name}-${who}` }
}

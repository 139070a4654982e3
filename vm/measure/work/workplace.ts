import { chmodSync, cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type DebianRoot, serveDebianRoot } from '../../device/debian-root.js'
import { DeviceProcess } from '../../device/device-process.js'
import { bootGuest, type Guest } from '../../guest/guest.js'
import { makeTemporaryDir } from '../../host/temporary-dir.js'
import type { Peer } from '../bench/peer.js'
import { POLICIES, type PolicyName } from './policies.js'
import { fetchSupplies, WORK_PACKAGES } from './supplies.js'

// From dist/vm/work back to the sources: scripts are not copied to dist.
const SCRIPTS = fileURLToPath(new URL('../../../../vm/measure/work/scripts/', import.meta.url))
const TAG = 'work'
const SUPPLIES_TAG = 'supplies'
const SUPPLIES_DIR = '/debian/run/supplies'
const MEMORY_MIB = 2_048
/** For what takes a moment: a guest is emulated, and its host may do something else for minutes. */
export const PATIENCE_MS = 300_000
const LOG_LINES = 25

/** What the work needs beside a cache policy: ACLs, trusted.* attributes, flags that only root may set, locks of the host. */
const NEEDS = ['--posix-acl=always', '--modcaps=+SYS_ADMIN:+LINUX_IMMUTABLE']
const OUR_NEEDS = [...NEEDS, '--flock', '--posix-lock', '--keep-alive']
const PEER_NEEDS = ['--xattr', ...NEEDS.map((option) => option.toLowerCase())]

/** The Debian system that a guest works with, and what it would fetch if it had a network. */
export interface Tools {
  readonly root: DebianRoot
  /** Undefined where no work needs them. */
  readonly supplies: DeviceProcess | undefined
}

/** Everything that the work needs, served; `stop` ends it. */
export async function serveTools(): Promise<Tools & { stop(): Promise<void> }> {
  const root = await serveDebianRoot(WORK_PACKAGES)
  const supplies = await DeviceProcess.start({
    device: 'virtiofsd-ts',
    sharedDir: await fetchSupplies(),
    args: ['--readonly', '--cache', 'always', '--keep-alive'],
  })
  return {
    root,
    supplies,
    stop: async () => {
      await Promise.all([root.stop(), supplies.stop()])
    },
  }
}

export interface WorkplaceOptions {
  policy: PolicyName
  kernel?: string | undefined
  qemu?: string | undefined
  /** Another device than ours. */
  peer?: Peer | undefined
}

/** One share under one cache policy, and the guest that works on it: one after the other. */
export class Workplace {
  private device: DeviceProcess | undefined
  private current: Guest | undefined
  /** Kernel and machine of the guests, once there was one. */
  machine = ''
  /** The shared directory on the host. */
  readonly sharedDir: string
  private readonly dir = makeTemporaryDir()

  constructor(
    private readonly tools: Tools,
    private readonly options: WorkplaceOptions,
  ) {
    this.sharedDir = this.dir.path
    // The database server's user gets in.
    chmodSync(this.sharedDir, 0o755)
    cpSync(SCRIPTS, join(this.sharedDir, 'scripts'), { recursive: true })
  }

  /** The guest that runs; boots one when there is none. */
  async guest(): Promise<Guest> {
    this.current ??= await this.boot()
    return this.current
  }

  /** The guest's power fails. */
  async killGuest(): Promise<void> {
    await this.current?.kill()
    this.current = undefined
    // The peer leaves with its guest, though not at once.
    if (this.options.peer !== undefined) await this.device?.stop()
  }

  /** A command for the guest that runs `command` in its Debian system, in a directory of the share. */
  command(directory: string, command: string): string {
    return this.tools.root.command(`mkdir -p /mnt/${directory} && cd /mnt/${directory} && ${command}`)
  }

  /** What a command prints that must succeed, and takes a moment. */
  async output(directory: string, command: string): Promise<string> {
    return (await this.guest()).output(this.command(directory, command), { timeoutMs: PATIENCE_MS })
  }

  /** Runs one of scripts/ in the directory of its name. A failure is an error that holds the end of its log. */
  async run(
    name: string,
    variables: Readonly<Record<string, string | number>>,
    timeoutMs: number,
  ): Promise<void> {
    const settings = Object.entries(variables).map(([key, value]) => `${key}=${value} `)
    const command = this.command(name, `${settings.join('')}bash -eux -o pipefail ../scripts/${name}.sh 2>&1`)
    const { status, signal, stdout } = await (await this.guest()).run(command, { timeoutMs })
    if (status === 0) return
    const how = signal === null ? `status ${status}` : `signal ${signal}`
    throw new Error(
      `${how}; its log ends with\n${stdout.toString().trimEnd().split('\n').slice(-LOG_LINES).join('\n')}`,
    )
  }

  async close(): Promise<void> {
    await this.killGuest()
    await this.device?.stop()
    this.dir.remove()
  }

  private async boot(): Promise<Guest> {
    const { root, supplies } = this.tools
    const { kernel, qemu } = this.options
    const shares = [{ tag: TAG, socketPath: (await this.served()).socketPath }, root.share]
    if (supplies !== undefined) shares.push({ tag: SUPPLIES_TAG, socketPath: supplies.socketPath })
    const guest = await bootGuest({
      kernel,
      qemu,
      shares,
      memoryMiB: MEMORY_MIB,
      modules: ['overlay'],
      bootTimeoutMs: PATIENCE_MS,
    })
    this.machine = `Linux ${guest.kernelRelease}, ${await guest.describeMachine()}`
    await guest.mount(TAG, '/work')
    await root.enter(guest, '/work')
    if (supplies !== undefined) await guest.mount(SUPPLIES_TAG, SUPPLIES_DIR, 'ro')
    return guest
  }

  /** The device; one that has ended is started again. */
  private async served(): Promise<DeviceProcess> {
    const { peer, policy } = this.options
    if (this.device !== undefined && !this.device.ended) return this.device
    this.device = await DeviceProcess.start({
      device: peer?.device ?? 'virtiofsd-ts',
      program: peer?.program,
      sharedDir: this.sharedDir,
      args: [...POLICIES[policy], ...(peer === undefined ? OUR_NEEDS : PEER_NEEDS)],
    })
    return this.device
  }
}

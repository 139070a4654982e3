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

// This path leads from dist/vm/work back to the sources, because scripts are not copied to dist.
const SCRIPTS = fileURLToPath(new URL('../../../../vm/measure/work/scripts/', import.meta.url))
const TAG = 'work'
const SUPPLIES_TAG = 'supplies'
const SUPPLIES_DIR = '/debian/run/supplies'
const MEMORY_MIB = 2_048
/** A limit for short steps: a guest is emulated, and its host may be busy for minutes. */
export const PATIENCE_MS = 300_000
const LOG_LINES = 25

/**
 * Options for the work besides a cache policy: ACLs, trusted.* attributes, flags that only root may set, host locks.
 */
const NEEDS = ['--posix-acl=always', '--modcaps=+SYS_ADMIN:+LINUX_IMMUTABLE']
const OUR_NEEDS = [...NEEDS, '--flock', '--posix-lock', '--keep-alive']
const PEER_NEEDS = ['--xattr', ...NEEDS.map((option) => option.toLowerCase())]

/** The Debian system of a guest, and the downloads that it cannot fetch without a network. */
export interface Tools {
  readonly root: DebianRoot
  /** Undefined if no work needs them. */
  readonly supplies: DeviceProcess | undefined
}

/** Serves everything that the work needs; `stop` ends it. */
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
  /** The device to use instead of ours. */
  peer?: Peer | undefined
  /** The module of a file system that our device serves instead of a directory. */
  fileSystem?: string | undefined
}

/** One share under one cache policy, and one guest after the other that works on it. */
export class Workplace {
  private device: DeviceProcess | undefined
  private current: Guest | undefined
  /** Kernel and machine of the guests, known after the first boot. */
  machine = ''
  /** The shared directory on the host. */
  readonly sharedDir: string
  private readonly dir = makeTemporaryDir()

  constructor(
    private readonly tools: Tools,
    private readonly options: WorkplaceOptions,
  ) {
    this.sharedDir = this.dir.path
    // The database server's user needs access.
    chmodSync(this.sharedDir, 0o755)
    cpSync(SCRIPTS, join(this.sharedDir, 'scripts'), { recursive: true })
  }

  /** Returns the running guest; boots one if there is none. */
  async guest(): Promise<Guest> {
    this.current ??= await this.boot()
    return this.current
  }

  /** Kills the guest, like a power failure. */
  async killGuest(): Promise<void> {
    await this.current?.kill()
    this.current = undefined
    // The peer ends with its guest, though not at once.
    if (this.options.peer !== undefined) await this.device?.stop()
  }

  /** Returns a guest command that runs `command` in the Debian system, in a directory of the share. */
  command(directory: string, command: string): string {
    return this.tools.root.command(`mkdir -p /mnt/${directory} && cd /mnt/${directory} && ${command}`)
  }

  /** Returns the output of a short command. Rejects if it fails. */
  async output(directory: string, command: string): Promise<string> {
    return (await this.guest()).output(this.command(directory, command), { timeoutMs: PATIENCE_MS })
  }

  /** Runs one of scripts/ in the directory of its name. Rejects with the end of its log if it fails. */
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

  /** Returns the device; restarts it if it has ended. */
  private async served(): Promise<DeviceProcess> {
    const { peer, policy, fileSystem } = this.options
    if (this.device !== undefined && !this.device.ended) return this.device
    const own = fileSystem === undefined ? [] : ['--file-system', fileSystem]
    this.device = await DeviceProcess.start({
      device: peer?.device ?? 'virtiofsd-ts',
      program: peer?.program,
      sharedDir: this.sharedDir,
      args: [...POLICIES[policy], ...(peer === undefined ? [...OUR_NEEDS, ...own] : PEER_NEEDS)],
    })
    return this.device
  }
}

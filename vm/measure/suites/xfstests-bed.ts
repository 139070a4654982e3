import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type DebianRoot, serveDebianRoot } from '../../device/debian-root.js'
import { DeviceProcess } from '../../device/device-process.js'
import { bootGuest, type Guest } from '../../guest/guest.js'
import { makeTemporaryDir } from '../../host/temporary-dir.js'
import type { Peer } from '../bench/peer.js'
import { POLICIES, type PolicyName } from '../work/policies.js'
import { SUITE_DIR, SUITES } from './suites.js'
import { ENTER_XFSTESTS_HOME } from './xfstests-home.js'

/** The two file systems of xfstests, and their places in the guest's Debian system. */
const PLACES = { test: '/mnt', scratch: '/var/tmp/scratch' } as const
/** Cases filter their output by these names, so neither may be a word of that output, such as `scratch`. */
const TAGS = { test: 'xfstests-test', scratch: 'xfstests-scratch' } as const
const FILE_SYSTEMS = ['test', 'scratch'] as const
const SUPPLIES_TAG = 'supplies'
const ROOT = '/debian'
const MEMORY_MIB = 2_048
const BOOT_MS = 300_000
/** The options that cases need besides a cache policy, in the spelling of our device and of the peer. */
const OUR_NEEDS = [
  '--posix-acl=always',
  '--modcaps=+SYS_ADMIN:+LINUX_IMMUTABLE',
  '--flock',
  '--posix-lock',
  '--keep-alive',
]
const PEER_NEEDS = ['--xattr', '--posix-acl', '--modcaps=+sys_admin:+linux_immutable']

export interface BedOptions {
  readonly policy: PolicyName
  readonly kernel: string
  readonly qemu?: string | undefined
  /** The device to use instead of ours. */
  readonly peer?: Peer | undefined
}

/** The end of a case: its status (null: it was killed, or its guest was) and its output. */
export interface CaseEnd {
  readonly status: number | null
  readonly output: string
}

/** Two shares, TEST and SCRATCH, of one device under one cache policy, and one guest after the other that tests them. */
export class XfstestsBed {
  private readonly dir = makeTemporaryDir()
  private devices: DeviceProcess[] = []
  private current: Guest | undefined
  /** Known after the first boot. */
  release = ''

  private constructor(
    private readonly options: BedOptions,
    private readonly root: DebianRoot,
    private readonly suite: DeviceProcess,
  ) {
    for (const name of FILE_SYSTEMS) {
      mkdirSync(join(this.dir.path, name))
      chmodSync(join(this.dir.path, name), 0o755)
    }
    chmodSync(this.dir.path, 0o755)
  }

  /** `path`: the built xfstests. */
  static async make(path: string, options: BedOptions): Promise<XfstestsBed> {
    const root = await serveDebianRoot(SUITES.xfstests.packages)
    const args = ['--readonly', '--cache', 'always', '--keep-alive']
    return new XfstestsBed(
      options,
      root,
      await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: path, args }),
    )
  }

  /** Boots a guest if there is none. Returns its release. */
  async prepare(): Promise<string> {
    this.current ??= await this.boot()
    return this.release
  }

  /** Runs one case. A guest that hangs is replaced before the next one. */
  async run(name: string, limitSec: number): Promise<CaseEnd> {
    await this.prepare()
    const variables = [
      'FSTYP=virtiofs',
      ...[`TEST_DEV=${TAGS.test}`, `TEST_DIR=${PLACES.test}`],
      ...[`SCRATCH_DEV=${TAGS.scratch}`, `SCRATCH_MNT=${PLACES.scratch}`],
      'RESULT_BASE=/tmp/results',
    ]
    const check = `${ENTER_XFSTESTS_HOME}; cd ${SUITE_DIR} && ${variables.join(' ')} timeout -k 5 ${limitSec} ./check ${name} 2>&1`
    const timeoutMs = limitSec * 1000 + 60_000
    const end = await this.current!.run(this.root.command(check), { timeoutMs }).catch(() => undefined)
    if (end === undefined) await this.endGuest()
    const output = end?.stdout.toString() ?? 'the guest does not answer any more\n'
    return { status: end?.status ?? null, output }
  }

  /** The files that a failed case left in the results: its output beside the expected one, and the kernel's log. */
  async details(name: string): Promise<string> {
    const show = `cd /tmp/results && tail -n 40 ${name}.out.bad ${name}.dmesg 2>/dev/null`
    const end = await this.current?.run(this.root.command(show)).catch(() => undefined)
    return end?.stdout.toString() ?? ''
  }

  async close(): Promise<void> {
    await this.endGuest()
    await Promise.all([this.suite.stop(), this.root.stop()])
    this.dir.remove()
  }

  private async endGuest(): Promise<void> {
    await this.current?.kill()
    this.current = undefined
    for (const device of this.devices) await device.stop()
    this.devices = []
  }

  private async boot(): Promise<Guest> {
    const { kernel, qemu } = this.options
    this.devices = [await this.serve('test'), await this.serve('scratch')]
    const guest = await bootGuest({
      kernel,
      qemu,
      shares: [
        ...this.devices.map(({ socketPath }, n) => ({ tag: TAGS[FILE_SYSTEMS[n]!], socketPath })),
        { tag: SUPPLIES_TAG, socketPath: this.suite.socketPath },
        this.root.share,
      ],
      memoryMiB: MEMORY_MIB,
      bootTimeoutMs: BOOT_MS,
    })
    this.release = guest.kernelRelease
    await guest.mount(TAGS.test, '/mnt')
    await this.root.enter(guest, '/mnt')
    // Some cases unmount the file system and mount it again. A second mount would keep its caches.
    await guest.output(`umount /mnt && mkdir -p ${ROOT}${PLACES.scratch}`)
    await guest.mount(SUPPLIES_TAG, `${ROOT}${SUITE_DIR}`, 'ro')
    return guest
  }

  private serve(name: keyof typeof TAGS): Promise<DeviceProcess> {
    const { peer, policy } = this.options
    return DeviceProcess.start({
      device: peer?.device ?? 'virtiofsd-ts',
      program: peer?.program,
      sharedDir: join(this.dir.path, name),
      args: [...POLICIES[policy], ...(peer === undefined ? OUR_NEEDS : PEER_NEEDS)],
    })
  }
}

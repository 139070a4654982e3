import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { runCommand } from '../host/command.js'
import { describeExit, LeashedProcess } from '../host/leashed-process.js'
import type { Program } from '../host/program.js'
import { SetupError } from '../host/setup-error.js'
import { makeTemporaryDir } from '../host/temporary-dir.js'
import { fetchBundle } from '../packages/bundle.js'
import { collectedProgram } from '../packages/collected-program.js'

/** Our device, the Rust virtiofsd in two versions, and the older one in C. */
export const DEVICE_NAMES = ['virtiofsd-ts', 'virtiofsd-1.14', 'virtiofsd-1.13', 'virtiofsd-c'] as const
export type DeviceName = (typeof DEVICE_NAMES)[number]

export interface DeviceOptions {
  /** Default: ours if it is built, else the newest peer. */
  device?: DeviceName | undefined
  /** Another program that takes the same options as `device`. Default: the program of `device`. */
  program?: string | Program | undefined
  sharedDir: string
  /** Default: one in a temporary folder. */
  socketPath?: string
  /** Added to the device's command line. */
  args?: string[]
  /** Options for the Node that runs ours. */
  nodeArgs?: string[]
  /** A command that runs the command behind it, such as `nice`. Default: none. */
  under?: string[]
}

/** The path of our program. */
export const OURS = fileURLToPath(new URL('../../program/main.js', import.meta.url))
/** The newest Rust virtiofsd. */
export const NEWEST_PEER: DeviceName = 'virtiofsd-1.14'
const START_TIMEOUT_MS = 15_000
const START_POLL_MS = 20
/** __SO_ACCEPTCON, in the flags of /proc/net/unix. */
const LISTENING = 0x10000

/** A virtio-fs device in a process of its own, beside QEMU. */
export class DeviceProcess extends LeashedProcess {
  private constructor(
    name: DeviceName,
    program: Program,
    args: string[],
    /** The value for `-chardev socket,path=`; with several shares, the socket of one. */
    readonly socketPath: string,
  ) {
    super(name, program, args)
  }

  /** Resolves once the device listens. Rejects with its last output if it ends instead. */
  static async start({
    device,
    program: given,
    sharedDir,
    socketPath,
    args = [],
    under = [],
    nodeArgs = [],
  }: DeviceOptions): Promise<DeviceProcess> {
    const name = device ?? (await findDefaultDevice())
    const own = typeof given === 'string' ? { command: given, args: [] } : given
    const found = own ?? (await findProgram(name, nodeArgs))
    const program = runUnder(under, found)
    const dir = makeTemporaryDir()
    const path = resolve(socketPath ?? join(dir.path, 'socket'))
    const share = shareArguments(name, resolve(sharedDir), path)
    const process = new DeviceProcess(name, program, [...share, ...args], path)
    process.exited.then(dir.remove, dir.remove)
    await waitUntilListening(process, [path])
    return process
  }

  /** Starts our device with options that name its shares. Resolves once it listens at all of `socketPaths`. */
  static async startOurs(
    args: string[],
    socketPaths: readonly [string, ...string[]],
  ): Promise<DeviceProcess> {
    const process = new DeviceProcess('virtiofsd-ts', await findProgram('virtiofsd-ts'), args, socketPaths[0])
    await waitUntilListening(process, socketPaths)
    return process
  }
}

/** Returns ours if it is built and can print its version, else the newest peer. */
export async function findDefaultDevice(): Promise<DeviceName> {
  if (!existsSync(OURS)) return NEWEST_PEER
  const version = await runCommand(process.execPath, [OURS, '--version']).catch(() => '')
  return version === '' ? NEWEST_PEER : 'virtiofsd-ts'
}

/** Returns the program of a name, fetched if need be; `nodeArgs` are for ours. */
export async function findProgram(name: DeviceName, nodeArgs: string[] = []): Promise<Program> {
  if (name === 'virtiofsd-ts') return { command: process.execPath, args: [...nodeArgs, OURS] }
  return collectedProgram(await fetchBundle(name === 'virtiofsd-c' ? 'qemu-7.2' : name), 'virtiofsd')
}

function runUnder([command, ...args]: string[], program: Program): Program {
  if (command === undefined) return program
  return { ...program, command, args: [...args, program.command, ...program.args] }
}

function shareArguments(name: DeviceName, sharedDir: string, socketPath: string): string[] {
  // In virtiofsd's option lists a doubled comma stands for one comma.
  if (name === 'virtiofsd-c')
    return ['-f', `--socket-path=${socketPath}`, '-o', `source=${sharedDir.replaceAll(',', ',,')}`]
  const share = ['--shared-dir', sharedDir, '--socket-path', socketPath]
  // Without root the peer's default sandbox needs newuidmap and its tables.
  const needsNoSandbox = name !== 'virtiofsd-ts' && process.getuid?.() !== 0
  return needsNoSandbox ? [...share, '--sandbox', 'none'] : share
}

/**
 * Resolves once a device listens on all its sockets. Rejects with its last output if it ends instead. Asks the
 * kernel, because a connection would use up the only one that some devices accept.
 */
async function waitUntilListening(device: LeashedProcess, socketPaths: readonly string[]): Promise<void> {
  const deadlineMs = performance.now() + START_TIMEOUT_MS
  for (const path of socketPaths) {
    while (!isListening(path)) {
      if (device.ended) throw new SetupError(describeExit(device, await device.exited))
      if (performance.now() > deadlineMs) {
        device.signal('SIGKILL')
        throw new SetupError(`${device.name} does not listen on ${path} after ${START_TIMEOUT_MS} ms`)
      }
      await sleep(START_POLL_MS)
    }
  }
}

/** A line of /proc/net/unix: Num RefCount Protocol Flags Type St Inode Path. */
function isListening(socketPath: string): boolean {
  const lines = readFileSync('/proc/net/unix', 'utf8').split('\n')
  return lines.some((line) => {
    const flags = Number.parseInt(line.split(' ')[3] ?? '', 16)
    return line.endsWith(` ${socketPath}`) && (flags & LISTENING) !== 0
  })
}

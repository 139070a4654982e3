import { join } from 'node:path'
import { findInPath, isExecutable } from '../host/find-in-path.js'
import type { Program } from '../host/program.js'
import { SetupError } from '../host/setup-error.js'
import { fetchBundle } from '../packages/bundle.js'
import { collectedProgram } from '../packages/collected-program.js'
import type { Accelerator } from './accelerator.js'

const BINARY = 'qemu-system-x86_64'
export const QEMU_NAMES = ['7.2', '10', '11'] as const
export type QemuName = (typeof QEMU_NAMES)[number]

/** One virtio-fs device of a guest, served by whatever listens on `socketPath`. */
export interface Share {
  tag: string
  socketPath: string
  /** Request queues besides hiprio; the guest's kernel uses more than one from 6.11 on. Default 1. */
  requestQueues?: number
  /** Descriptors per queue, a power of two up to 1024. Default 1024. */
  queueSize?: number
}

/** A disk of a guest, /dev/vda the first, served by a vhost-user block device at `socketPath`. */
export interface Disk {
  socketPath: string
  /** Default 1. */
  queues?: number
}

/** Sockets at which we listen and QEMU connects: the console, both lines that the agent may choose, and QMP. */
export interface MachineSockets {
  console: string
  agentPort: string
  agentSerial: string
  qmp: string
}

export interface MachineOptions {
  accelerator: Accelerator
  kernelImage: string
  initramfs: string
  kernelArgs: string[]
  memoryMiB: number
  /** The most memory after plugging in more while the guest runs; no hot-plug if it is not above `memoryMiB`. */
  maxMemoryMiB: number
  cpus: number
  shares: Share[]
  disks: Disk[]
  sockets: MachineSockets
  /** Where the machine gets a guest from, such as `unix:PATH` or `file:PATH`. Default: it boots. */
  incoming?: string
}

/** Finds a QEMU: one of QEMU_NAMES, `system`, a path, or by default the system's if it has one. */
export async function findQemu(name?: string): Promise<Program> {
  const installed = findInPath(BINARY)
  if (name === undefined) return installed === undefined ? findQemu('10') : { command: installed, args: [] }
  if (name === 'system') {
    if (installed !== undefined) return { command: installed, args: [] }
    throw new SetupError(`${BINARY} is not installed; ${QEMU_NAMES.join(', ')} can be fetched`)
  }
  if (isQemuName(name)) return fetchQemu(name)
  if (isExecutable(name)) return { command: name, args: [] }
  throw new SetupError(`no QEMU ${name}: it is neither a program nor one of system, ${QEMU_NAMES.join(', ')}`)
}

function isQemuName(name: string): name is QemuName {
  return QEMU_NAMES.some((known) => known === name)
}

async function fetchQemu(name: QemuName): Promise<Program> {
  const dir = await fetchBundle(`qemu-${name}`)
  const files = join(dir, 'files')
  const { command, args } = collectedProgram(dir, BINARY)
  return { command, args: [...args, '-L', files], env: { QEMU_MODULE_DIR: files } }
}

/** Returns the command line of a PC with shares, a console on ttyS0, lines to the agent, and nothing else. */
export function machineArguments(options: MachineOptions): string[] {
  const { accelerator, memoryMiB, maxMemoryMiB, sockets } = options
  const plug = maxMemoryMiB > memoryMiB ? `,slots=8,maxmem=${maxMemoryMiB}M` : ''
  return [
    ['-nodefaults', '-no-user-config'],
    ['-display', 'none'],
    ['-machine', 'q35,memory-backend=mem'],
    ['-accel', accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi'],
    ['-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ['-smp', `${options.cpus}`],
    ['-m', `${memoryMiB}M${plug}`],
    // Shared memory, so that the device process can map the guest's memory.
    ['-object', `memory-backend-memfd,id=mem,size=${memoryMiB}M,share=on`],
    ['-kernel', options.kernelImage],
    ['-initrd', options.initramfs],
    ['-append', options.kernelArgs.join(' ')],
    ['-chardev', socketChardev('console', sockets.console), '-serial', 'chardev:console'],
    ['-chardev', socketChardev('agent-serial', sockets.agentSerial), '-serial', 'chardev:agent-serial'],
    ['-chardev', socketChardev('agent-port', sockets.agentPort)],
    ['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=agent-port,nr=1'],
    ['-chardev', socketChardev('qmp', sockets.qmp), '-qmp', 'chardev:qmp'],
    ...options.shares.map(shareArguments),
    ...options.disks.map(diskArguments),
    options.incoming === undefined ? [] : ['-incoming', options.incoming],
  ].flat()
}

function shareArguments(
  { tag, socketPath, requestQueues = 1, queueSize = 1024 }: Share,
  index: number,
): string[] {
  const device = `vhost-user-fs-pci,chardev=fs${index},tag=${escapeCommas(tag)}`
  return [
    '-chardev',
    socketChardev(`fs${index}`, socketPath),
    '-device',
    `${device},queue-size=${queueSize},num-request-queues=${requestQueues}`,
  ]
}

function diskArguments({ socketPath, queues = 1 }: Disk, index: number): string[] {
  return [
    '-chardev',
    socketChardev(`disk${index}`, socketPath),
    '-device',
    `vhost-user-blk-pci,chardev=disk${index},num-queues=${queues}`,
  ]
}

function socketChardev(id: string, path: string): string {
  return `socket,id=${id},path=${escapeCommas(path)}`
}

/** In QEMU's option lists a doubled comma stands for one comma. */
function escapeCommas(text: string): string {
  return text.replaceAll(',', ',,')
}

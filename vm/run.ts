/** `make run`: a Linux guest with a folder of the user's on /mnt. A shell on a terminal, else a short tour. */
import { mkdirSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Command, Option } from 'commander'
import { DEVICE_NAMES, type DeviceName, DeviceProcess } from './device/device-process.js'
import { bootGuest, DEFAULT_KERNEL, type Guest, type GuestOptions } from './guest/guest.js'
import { findKernel, KERNEL_NAMES } from './guest/kernel.js'
import { findQemu, QEMU_NAMES } from './guest/qemu.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { describeExit } from './host/leashed-process.js'
import { showProgress } from './host/progress.js'
import { SetupError } from './host/setup-error.js'
import { runShell } from './run/shell.js'
import { item, section, takeTour } from './run/tour.js'

const TAG = 'share'
const MOUNT_POINT = '/mnt'
/** A device that fails takes this long to end, at most. */
const END_MS = 1000
const SCRATCH_DIR = fileURLToPath(new URL('../../.cache/share', import.meta.url))

interface Options {
  dir?: string
  fileSystem?: string
  kernel: string
  modules?: string
  qemu?: string
  device?: DeviceName
  memory: number
  cpus: number
}

function makeCommand(): Command {
  return new Command('run')
    .description('Boots a Linux guest with a folder of this host on /mnt. Options after -- go to the device.')
    .option('--dir <path>', 'the folder to share (default: a scratch folder of its own)')
    .option('--file-system <module>', 'share what a module makes instead, as virtiofsd-ts --file-system does')
    .option('--kernel <name or path>', `one of ${KERNEL_NAMES.join(', ')}, or a bzImage`, DEFAULT_KERNEL)
    .option('--modules <path>', 'for a bzImage: its modules, a folder like /lib/modules/RELEASE')
    .option(
      '--qemu <name or path>',
      `system, one of ${QEMU_NAMES.join(', ')}, or a program (default: system, else 10)`,
    )
    .addOption(
      new Option('--device <name>', 'the device that serves the share (default: ours)').choices(DEVICE_NAMES),
    )
    .option('--memory <MiB>', 'memory of the guest', parseCount, 1024)
    .option('--cpus <count>', 'processors of the guest', parseCount, 2)
    .argument('[device options...]')
    .exitOverride()
}

async function run(options: Options, deviceArgs: string[]): Promise<void> {
  const sharedDir = prepareDir(options.dir)
  const own = options.fileSystem === undefined ? [] : ['--file-system', resolve(options.fileSystem)]
  // Fetches first what may be missing; bootGuest then finds it in the cache.
  await findKernel(options.kernel, options.modules)
  await findQemu(options.qemu)
  const interactive = process.stdin.isTTY && process.stdout.isTTY
  const device = await DeviceProcess.start({
    device: options.device,
    sharedDir,
    args: [...own, ...deviceArgs],
  })
  const guest = await showProgress(`booting Linux ${options.kernel}`, () =>
    bootBeside(device, {
      kernel: options.kernel,
      modulesDir: options.modules,
      qemu: options.qemu,
      memoryMiB: options.memory,
      cpus: options.cpus,
      shares: [{ tag: TAG, socketPath: device.socketPath }],
      programs: interactive ? ['fio'] : [],
      // Keeps the kernel's boot messages out of the shell; errors still show.
      kernelArgs: interactive ? ['quiet'] : [],
    }),
  )
  await guest.mount(TAG, MOUNT_POINT)
  await introduce(guest, device, options.fileSystem ?? sharedDir)
  if (interactive) {
    item('leave', 'with exit or Ctrl-D; Ctrl-] ends a guest that hangs\n')
    await runShell(guest, MOUNT_POINT)
  } else if (options.fileSystem !== undefined) {
    section(`ls -l ${MOUNT_POINT}`)
    process.stdout.write(await guest.output(`ls -l ${MOUNT_POINT}`))
  } else {
    await takeTour(guest, sharedDir, MOUNT_POINT)
  }
  await guest.shutdown()
  await device.stop()
  section('The guest is off.')
}

/** Boots a guest. Rejects with the device's last output if the device has ended, because QEMU only says that it left. */
async function bootBeside(device: DeviceProcess, options: GuestOptions): Promise<Guest> {
  try {
    return await bootGuest(options)
  } catch (error) {
    const exit = await Promise.race([device.exited, sleep(END_MS, undefined)])
    throw exit === undefined ? error : new SetupError(describeExit(device, exit))
  }
}

function prepareDir(dir: string | undefined): string {
  if (dir === undefined) {
    mkdirSync(SCRATCH_DIR, { recursive: true })
    return SCRATCH_DIR
  }
  if (!statSync(dir, { throwIfNoEntry: false })?.isDirectory()) throw new SetupError(`no such folder: ${dir}`)
  return resolve(dir)
}

async function introduce(guest: Guest, device: DeviceProcess, sharedDir: string): Promise<void> {
  const mounted = (await guest.output(`grep ' ${MOUNT_POINT} ' /proc/mounts`)).trim()
  const reason = guest.accelerator === 'kvm' ? '' : ', because this host has no usable KVM'
  section(`Linux ${guest.kernelRelease}, up in ${(guest.bootMs / 1000).toFixed(1)} s`)
  item('machine', `${await guest.describeMachine()}${reason}`)
  item('device', `${device.name}, process ${device.pid}`)
  item(MOUNT_POINT, `is ${sharedDir}`)
  item('mount', mounted)
  for (const [label, text] of agreementOf(device)) item(label, text)
}

/** Returns our device's report of the mount: the guest's FUSE version, and the effect on the two io options. */
function agreementOf(device: DeviceProcess): [string, string][] {
  const line = device.log.find((line) => line.includes('"guest mounted the share"'))
  if (line === undefined) return []
  const { guest, allowMmap, parallelDio } = JSON.parse(line)
  return [
    ['FUSE', guest],
    ['allow-mmap', allowMmap],
    ['parallel-dio', parallelDio],
  ]
}

await runAsProgram(makeCommand(), run)

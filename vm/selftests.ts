/** `make selftests`: the selftests of FUSE that a kernel's tree has, in a guest with that kernel. They print KTAP. */
import { Command } from 'commander'
import { DeviceProcess } from './device/device-process.js'
import { bootGuest, type Guest } from './guest/guest.js'
import { KERNEL_NAMES } from './guest/kernel.js'
import { runAsProgram } from './host/command-program.js'
import { buildKernel } from './lab/tree/build-kernel.js'
import { buildSelftests, type Selftests, selftestOutcome } from './lab/tree/selftests.js'

interface Options {
  tree: string
  kernel?: string
  qemu?: string
}

const BOOT_MS = 300_000
const TEST_MS = 300_000

function makeCommand(): Command {
  return new Command('selftests')
    .description(
      "Builds tools/testing/selftests/filesystems/fuse of a kernel's tree and runs it in a guest with that kernel, on " +
        'standard output as KTAP. Ends with 1 when a test fails.',
    )
    .requiredOption('--tree <path>', "a kernel's tree, of Linux 6.17 or later")
    .option(
      '--kernel <name or path>',
      `another kernel than the tree's: ${KERNEL_NAMES.join(', ')}, a release, or a bzImage`,
    )
    .option('--qemu <name or path>', 'as make run takes it')
    .exitOverride()
}

async function run({ tree, kernel, qemu }: Options): Promise<void> {
  const selftests = await buildSelftests(tree)
  for (const name of selftests.missing)
    process.stderr.write(`${name} does not compile here, and is left out\n`)
  const image = kernel ?? (await buildKernel(tree))
  const device = await DeviceProcess.start({
    device: 'virtiofsd-ts',
    sharedDir: selftests.dir,
    args: ['--readonly', '--cache', 'always'],
  })
  const shares = [{ tag: 'selftests', socketPath: device.socketPath }]
  const guest = await bootGuest({ kernel: image, qemu, shares, bootTimeoutMs: BOOT_MS })
  try {
    process.stderr.write(`Linux ${guest.kernelRelease}\n`)
    await guest.mount('selftests', '/selftests')
    if (!(await runAll(guest, selftests))) throw new Error('not all selftests pass')
  } finally {
    await guest.kill()
    await device.stop()
  }
}

/** Runs the tests one by one, as kselftest's own runner prints them. Returns true if none fails. */
async function runAll(guest: Guest, { tests }: Selftests): Promise<boolean> {
  process.stdout.write(`TAP version 13\n1..${tests.length}\n`)
  let isGood = true
  for (const [n, name] of tests.entries()) {
    const command = `mount -t fusectl none /sys/fs/fuse/connections 2>/dev/null; cd /selftests && ./${name} 2>&1`
    const { status, stdout } = await guest.run(command, { timeoutMs: TEST_MS })
    const outcome = selftestOutcome(status)
    isGood &&= outcome !== 'fail'
    const lines = stdout.toString().trimEnd().replaceAll(/^/gm, '# ')
    const line = `${outcome === 'fail' ? 'not ok' : 'ok'} ${n + 1} selftests: filesystems/fuse: ${name}`
    process.stdout.write(`${lines}\n${line}${outcome === 'skip' ? ' # SKIP' : ''}\n`)
  }
  return isGood
}

await runAsProgram(makeCommand(), run)

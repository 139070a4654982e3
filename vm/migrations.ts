/** `make migrations`: a guest that works on shares of ours moves to another QEMU and other devices, and back, many times. */
import { Command, Option } from 'commander'
import { type MigrationMode, migrationModes } from '../src/passthrough/state/options.js'
import { DEFAULT_KERNEL } from './guest/guest.js'
import { KERNEL_NAMES } from './guest/kernel.js'
import { QEMU_NAMES } from './guest/qemu.js'
import { parseCount, runAsProgram } from './host/command-program.js'
import { MovingGuest } from './measure/migrations/moving-guest.js'
import { median } from './measure/statistics.js'
import { DEFAULT_POLICIES, POLICIES, type PolicyName, parsePolicies } from './measure/work/policies.js'

interface Options {
  moves: number
  policies: PolicyName[]
  kernel: string
  qemu: string
  mode: MigrationMode
}

function makeCommand(): Command {
  return new Command('migrations')
    .description(
      'Moves a guest between two QEMUs and two devices for each share while fio, git, SQLite and a model of files verify what they wrote there. After each move every lock must be held on the host, and nothing be left over at the source. Ends with 1 at the first fault.',
    )
    .option('--moves <n>', 'how often the guest moves', parseCount, 50)
    .option(
      '--policies <names>',
      `cache policies, some of ${Object.keys(POLICIES).join(', ')}`,
      parsePolicies,
      [...DEFAULT_POLICIES],
    )
    .option('--kernel <name or path>', `one of ${KERNEL_NAMES.join(', ')}, or a bzImage`, DEFAULT_KERNEL)
    .option('--qemu <name or path>', `one of ${QEMU_NAMES.join(', ')}, 8.2 or later`, '10')
    .addOption(
      new Option(
        '--mode <mode>',
        'as --migration-mode; by paths, what is refused for an open file without a name is tried again',
      )
        .choices(migrationModes)
        .default('file-handles'),
    )
    .exitOverride()
}

async function run({ moves, policies, kernel, qemu, mode }: Options): Promise<void> {
  const moving = await MovingGuest.boot({ policies, kernel, qemu, mode })
  const { guest } = moving
  try {
    const machine = `Linux ${guest.kernelRelease}, ${await guest.describeMachine()}`
    moving.start()
    const downtimesMs: number[] = []
    for (let n = 1; n <= moves; n++) {
      downtimesMs.push(await moving.move())
      say(`move ${n}: ${downtimesMs.at(-1)} ms between stop and go`)
    }
    const told = await moving.finish()
    say(`\n${machine}; ${moves} moves, ${policies.length} shares, ${mode}, no fault`)
    if (moving.refusals > 0)
      say(`${moving.refusals} were refused for an open file without a name, and tried again`)
    say(`milliseconds between stop and go: median ${median(downtimesMs)}, most ${Math.max(...downtimesMs)}`)
    say(told.join('\n'))
  } finally {
    await moving.stop()
  }
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runAsProgram(makeCommand(), run)

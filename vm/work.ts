/** `make work`: real work in a guest on our device, for each cache policy. */
import { Command } from 'commander'
import picomatch from 'picomatch'
import { ruledTable } from '../src/commands/text-table.js'
import { DEFAULT_KERNEL } from './guest/guest.js'
import { KERNEL_NAMES } from './guest/kernel.js'
import { runAsProgram } from './host/command-program.js'
import { SetupError } from './host/setup-error.js'
import { describePeer, findPeer, PEER_NAMES, type Peer } from './measure/bench/peer.js'
import { type Job, jobs } from './measure/work/jobs.js'
import { DEFAULT_POLICIES, POLICIES, type PolicyName, parsePolicies } from './measure/work/policies.js'
import { serveTools, type Tools, Workplace } from './measure/work/workplace.js'

const EXIT_FAILURE = 1

interface Options {
  policies: PolicyName[]
  kernel: string
  qemu?: string
  only: string
  peer: string
}

interface Outcome {
  seconds: string
  failed: boolean
}

/** The results of the work under one policy. */
interface Ledger {
  machine: string
  outcomes: ReadonlyMap<Job, Outcome>
}

function makeCommand(): Command {
  return new Command('work')
    .description(
      'Does everyday work on a share, in a guest, for each cache policy: git, npm, builds, databases, copies, an overlay, locks. Ends with 1 when a piece of work fails.',
    )
    .option(
      '--policies <names>',
      `cache policies, some of ${Object.keys(POLICIES).join(', ')}`,
      parsePolicies,
      [...DEFAULT_POLICIES],
    )
    .option('--kernel <name or path>', `one of ${KERNEL_NAMES.join(', ')}, or a bzImage`, DEFAULT_KERNEL)
    .option('--qemu <name or path>', 'as make run takes it')
    .option('--only <globs>', `only some of ${jobs.map(({ name }) => name).join(', ')}`, '*')
    .option(
      '--peer <name or path>',
      `another device in our place: ${PEER_NAMES.join(', ')}, or a program`,
      'none',
    )
    .exitOverride()
}

async function run(options: Options): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new SetupError('make work needs root: it makes devices, and files of several users')
  const chosen = chooseJobs(options.only)
  const peer = await findPeer(options.peer)
  if (peer === undefined && options.peer !== 'none')
    throw new SetupError(`there is no ${options.peer} to be had`)

  const tools = await serveTools()
  const ledgers = new Map<PolicyName, Ledger>()
  for (const policy of options.policies)
    ledgers.set(policy, await workUnder(policy, chosen, tools, options, peer))
  await tools.stop()
  const device = peer === undefined ? 'virtiofsd-ts' : describePeer(peer)
  say(`\n${device}; ${ledgers.values().next().value!.machine}; seconds\n\n${tableOf(chosen, ledgers)}`)
  if ([...ledgers.values()].some(({ outcomes }) => [...outcomes.values()].some(({ failed }) => failed)))
    process.exitCode = EXIT_FAILURE
}

/**
 * Returns the jobs that match some of these globs, separated by blanks or commas. Throws SetupError if one matches
 * none.
 */
function chooseJobs(globs: string): Job[] {
  const wanted = globs.split(/[\s,]+/).filter((glob) => glob !== '')
  const useless = wanted.find((glob) => !jobs.some(({ name }) => picomatch.isMatch(name, glob)))
  if (wanted.length === 0 || useless !== undefined)
    throw new SetupError(`--only ${useless ?? globs}: there is no such work`)
  return jobs.filter(({ name }) => picomatch.isMatch(name, wanted))
}

/** Does every job in turn, even after failures, and prints a line for each. */
async function workUnder(
  policy: PolicyName,
  chosen: readonly Job[],
  tools: Tools,
  { kernel, qemu }: Options,
  peer: Peer | undefined,
): Promise<Ledger> {
  const place = new Workplace(tools, { policy, kernel, qemu, peer })
  const outcomes = new Map<Job, Outcome>()
  for (const job of chosen) {
    // The guest may take any time to boot.
    const failure = await place.guest().then(() => undefined, asError)
    const beganMs = performance.now()
    const fault = failure ?? (await job.run(place).then(() => undefined, asError))
    const seconds = ((performance.now() - beganMs) / 1000).toFixed(1)
    outcomes.set(job, { seconds, failed: fault !== undefined })
    const outcome = fault === undefined ? 'ok' : 'FAILED'
    say(`${policy.padEnd(10)}  ${job.name.padEnd(11)} ${seconds.padStart(7)} s  ${outcome}: ${job.story}`)
    if (fault === undefined) continue
    say(fault.message.replaceAll(/^/gm, '    '))
    // The next job gets a new guest, whatever is wrong with this one.
    await place.killGuest()
  }
  await place.close()
  return { machine: place.machine, outcomes }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function tableOf(chosen: readonly Job[], ledgers: ReadonlyMap<PolicyName, Ledger>): string {
  const policies = [...ledgers.keys()]
  return ruledTable(
    [
      { title: 'work' },
      ...policies.map((title) => ({ title, align: 'right' as const })),
      { title: 'what is looked at' },
    ],
    chosen.map((job) => [
      job.name,
      ...policies.map((policy) => {
        const { seconds, failed } = ledgers.get(policy)!.outcomes.get(job)!
        return failed ? 'FAILED' : seconds
      }),
      job.story,
    ]),
  )
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runAsProgram(makeCommand(), run)

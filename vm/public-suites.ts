/**
 * `make public-suites`: public test suites in a guest, on our device and a peer, or on a file system of a user's own, for
 * each cache policy.
 */
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { serveDebianRoot } from './device/debian-root.js'
import { DeviceProcess } from './device/device-process.js'
import { DEFAULT_KERNEL } from './guest/guest.js'
import { KERNEL_NAMES } from './guest/kernel.js'
import { runAsProgram } from './host/command-program.js'
import { SetupError } from './host/setup-error.js'
import { describePeer, findPeer, PEER_NAMES, type Peer } from './measure/bench/peer.js'
import { EXPUNGED } from './measure/suites/expunged.js'
import { checkPlace, type Outcome, SUITES, type Suite, type SuiteOption } from './measure/suites/suites.js'
import { DEFAULT_POLICIES, type PolicyName, parsePolicies } from './measure/work/policies.js'
import { Workplace } from './measure/work/workplace.js'

/** A case that takes longer has failed. */
const CASE_TIMEOUT_SEC = 300
/** The exit status of timeout(1) for a command that it has ended. */
const STATUS_OF_TIMEOUT = 124
const GRACE_MS = 60_000
const SHOWN_LINES = 12
const OURS = 'virtiofsd-ts'

interface Options {
  pjdfstest?: string
  xfstests?: string
  ltp?: string
  policies: PolicyName[]
  only?: RegExp
  kernel: string
  qemu?: string
  fileSystem?: string
  peer?: string
}

/** The results of a suite's cases on one device under one policy. */
interface Result {
  readonly suite: Suite
  readonly policy: PolicyName
  readonly device: string
  readonly outcomes: ReadonlyMap<string, Outcome>
}

function makeCommand(): Command {
  return new Command('public-suites')
    .description(
      'Runs public test suites, which you have built, in a guest on a share: on our device and on a peer, or on a file system of your own, for each cache policy. One table at the end says what passes where.',
    )
    .option('--pjdfstest <directory>', 'pjdfstest, built')
    .option('--xfstests <directory>', 'xfstests, built: the generic cases of the group quick')
    .option('--ltp <directory>', 'LTP, installed: its system calls on files')
    .option('--policies <names>', 'cache policies', parsePolicies, [...DEFAULT_POLICIES])
    .option('--only <pattern>', 'only cases whose name matches this regular expression', parsePattern)
    .option('--kernel <name or path>', `one of ${KERNEL_NAMES.join(', ')}, or a bzImage`, DEFAULT_KERNEL)
    .option('--qemu <name or path>', 'as make run takes it')
    .option(
      '--file-system <module>',
      'our device serves what a module makes, as --file-system of virtiofsd-ts',
    )
    .option(
      '--peer <name or path>',
      `the device beside ours: ${PEER_NAMES.join(', ')}, or a program (default: virtiofsd; beside a file system of your own: none)`,
    )
    .exitOverride()
}

function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text)
  } catch {
    throw new SetupError(`${text} is no regular expression`)
  }
}

async function run(options: Options): Promise<void> {
  if (process.getuid?.() !== 0) throw new SetupError('public suites need root: they work as several users')
  const chosen = (Object.keys(SUITES) as SuiteOption[]).flatMap((option) => {
    const path = options[option]
    return path === undefined ? [] : [{ suite: SUITES[option] as Suite, path }]
  })
  if (chosen.length === 0) throw new SetupError('no suite: give --pjdfstest, --xfstests or --ltp')
  for (const { suite, path } of chosen) checkPlace(suite, path)
  const peer = await findPeer(options.peer ?? (options.fileSystem === undefined ? 'virtiofsd' : 'none'))

  const results: Result[] = []
  for (const { suite, path } of chosen) {
    for (const policy of options.policies) {
      for (const device of peer === undefined ? [undefined] : [undefined, peer])
        results.push(await runSuite(suite, path, policy, device, options))
    }
  }
  say(`\n${tableOf(results)}\n\n${differencesOf(results)}`)
  const expunged = Object.entries(EXPUNGED).map(([name, reason]) => `${name}: ${reason}`)
  say(`\nnot run:\n${expunged.join('\n')}`)
}

/** Runs every case, each in a directory of its own, and reports those that do not pass. */
async function runSuite(
  suite: Suite,
  path: string,
  policy: PolicyName,
  peer: Peer | undefined,
  { only, kernel, qemu, fileSystem }: Options,
): Promise<Result> {
  const device = peer === undefined ? OURS : describePeer(peer)
  const cases = suite
    .cases(path)
    .filter((name) => only?.test(name) !== false && EXPUNGED[`${suite.name} ${name}`] === undefined)
  if (cases.length === 0) throw new SetupError(`${suite.name}: no case of that name in ${path}`)
  say(`${suite.name}, ${policy}, ${device}: ${cases.length} cases`)

  const root = await serveDebianRoot(suite.packages)
  const args = ['--readonly', '--cache', 'always', '--keep-alive']
  const supplies = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: path, args })
  const place = new Workplace({ root, supplies }, { policy, kernel, qemu, peer, fileSystem })
  const outcomes = new Map<string, Outcome>()
  try {
    for (const [n, name] of cases.entries()) outcomes.set(name, await runCase(place, suite, path, name, n))
  } finally {
    await place.close()
    await Promise.all([supplies.stop(), root.stop()])
  }
  return { suite, policy, device, outcomes }
}

async function runCase(
  place: Workplace,
  suite: Suite,
  path: string,
  name: string,
  n: number,
): Promise<Outcome> {
  const directory = `case-${n}`
  const startMs = performance.now()
  const guest = await place.guest()
  const limited = `timeout -k 5 ${CASE_TIMEOUT_SEC} bash -c "$CASE"`
  const command = `export CASE=${quote(suite.command(name, path))}; ${limited}`
  const timeoutMs = CASE_TIMEOUT_SEC * 1000 + GRACE_MS
  const ended = await guest.run(place.command(directory, command), { timeoutMs }).catch(() => undefined)
  // A case that hangs in the kernel loses its guest; the next case gets a new one.
  if (ended === undefined) await place.killGuest()
  const output = ended?.stdout.toString() ?? ''
  const outcome = ended === undefined ? 'fail' : suite.outcomeOf(ended.status, output)
  const seconds = Math.round((performance.now() - startMs) / 1000)
  say(`  ${name}: ${outcome}, ${seconds} s`)
  if (outcome === 'fail') {
    const last = output.trimEnd().split('\n').slice(-SHOWN_LINES).join('\n')
    const isLate = ended === undefined || ended.status === STATUS_OF_TIMEOUT
    say(`${isLate ? `    no end in ${CASE_TIMEOUT_SEC} s\n` : ''}${last.replaceAll(/^/gm, '    ')}`)
  }
  return outcome
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function countOf({ outcomes }: Result, wanted: Outcome): string {
  return String([...outcomes.values()].filter((outcome) => outcome === wanted).length)
}

function tableOf(results: readonly Result[]): string {
  const right = (title: string) => ({ title, align: 'right' as const })
  return ruledTable(
    [
      { title: 'suite' },
      { title: 'policy' },
      { title: 'device' },
      right('pass'),
      right('fail'),
      right('skip'),
    ],
    results.map((result) => [
      result.suite.name,
      result.policy,
      result.device,
      countOf(result, 'pass'),
      countOf(result, 'fail'),
      countOf(result, 'skip'),
    ]),
  )
}

/** Lists the cases that differ between the two devices, and those that fail on both. */
function differencesOf(results: readonly Result[]): string {
  const lines: string[] = []
  for (const ours of results.filter(({ device }) => device === OURS)) {
    const theirs = results.find(
      ({ suite, policy, device }) => suite === ours.suite && policy === ours.policy && device !== ours.device,
    )
    for (const [name, outcome] of ours.outcomes) {
      const other = theirs?.outcomes.get(name)
      if (outcome === 'fail' || (other !== undefined && other !== outcome))
        lines.push(`${ours.suite.name} ${name}, ${ours.policy}: ${outcome} here, ${other ?? 'not run'} there`)
    }
  }
  return lines.length === 0 ? 'no case fails' : lines.join('\n')
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runAsProgram(makeCommand(), run)

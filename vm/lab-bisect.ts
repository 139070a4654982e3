/** `make lab-bisect`: finds the commit of a kernel's tree that changed what cases of the lab observe. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { execa } from 'execa'
import { SetupError } from './host/setup-error.js'
import { makeTemporaryDir } from './host/temporary-dir.js'
import { EXIT_AS_EXPECTED, EXIT_NO_VERDICT, EXIT_UNEXPECTED, runForVerdict } from './lab/exit-status.js'
import { Worktree } from './lab/tree/worktree.js'

interface Options {
  tree: string
  good: string
  bad: string
  cases?: string
  shares?: string
  kernelArgs?: string
  qemu?: string
}

const LAB = fileURLToPath(new URL('lab.js', import.meta.url))

function makeCommand(): Command {
  return new Command('lab-bisect')
    .description(
      'Runs cases on a good and on a bad commit, and then git bisect between them, in a worktree of its own. ' +
        'The results of the good commit are what is expected. Commits that do not build, boot or reach a case are skipped.',
    )
    .requiredOption('--tree <path>', "a kernel's repository")
    .requiredOption('--good <commit>', 'a commit that is as it should be')
    .requiredOption('--bad <commit>', 'a later one that is not')
    .option('--cases <glob>', 'only cases whose names match: the fewer, the faster')
    .option('--shares <glob>', 'only shares whose names match')
    .option('--kernel-args <words>', "added to the kernel's command line")
    .option('--qemu <name or path>', 'as make run takes it')
}

async function run(options: Options): Promise<number> {
  const dir = makeTemporaryDir()
  try {
    return await bisect(options, join(dir.path, 'expected.json'))
  } finally {
    dir.remove()
  }
}

async function bisect(options: Options, expected: string): Promise<number> {
  const { tree, good, bad } = options
  const worktree = await Worktree.of(tree)
  const lab = [process.execPath, LAB, '--tree', worktree.path, ...choices(options)]

  await worktree.checkOut(good)
  say(`the good commit, ${good}:`)
  // The good commit's observations are expected from now on, even where its rules would not expect them.
  const first = await runHere([...lab, '--json', expected])
  if (first !== EXIT_AS_EXPECTED && first !== EXIT_UNEXPECTED)
    throw new SetupError(`${good} gives no verdict: it cannot be what is expected`)

  await worktree.checkOut(bad)
  say(`\nthe bad commit, ${bad}:`)
  const second = await runHere([...lab, '--expect', expected])
  if (second !== EXIT_UNEXPECTED)
    throw new SetupError(
      second === EXIT_AS_EXPECTED ? `${bad} does the same as ${good}` : `${bad} gives no verdict`,
    )

  await worktree.git(['bisect', 'start', await worktree.nameOf(bad), await worktree.nameOf(good)])
  try {
    const status = await runHere(['git', '-C', worktree.path, 'bisect', 'run', ...lab, '--expect', expected])
    return status === 0 ? EXIT_AS_EXPECTED : EXIT_NO_VERDICT
  } finally {
    await worktree.git(['bisect', 'reset'])
  }
}

function choices({ cases, shares, kernelArgs, qemu }: Options): string[] {
  const options = { cases, shares, 'kernel-args': kernelArgs, qemu }
  return Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]))
}

/** Runs a command on our own terminal; returns its status. */
async function runHere([command, ...args]: string[]): Promise<number | undefined> {
  const { exitCode } = await execa(command!, args, { stdio: 'inherit', reject: false })
  return exitCode
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runForVerdict(makeCommand(), run)

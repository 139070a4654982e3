/** `make lab-mutants`: small faults in fs/fuse, one after the other, and which of them the lab finds. */
import { availableParallelism } from 'node:os'
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { SetupError } from './host/setup-error.js'
import { allCases } from './lab/all-cases.js'
import { EXIT_AS_EXPECTED, EXIT_UNEXPECTED, runForVerdict } from './lab/exit-status.js'
import { allMutants } from './lab/mutants/all-mutants.js'
import { cellsMatching, cellsOf } from './lab/mutants/cell-choice.js'
import { kernelOf, type Mutant } from './lab/mutants/mutant.js'
import { type Finding, isFound, MutantRun } from './lab/mutants/mutant-run.js'
import { makeMutatedTree } from './lab/mutants/mutated-tree.js'
import { buildKernel } from './lab/tree/build-kernel.js'
import { SOURCE_NAMES, type SourceName } from './lab/tree/kernel-source.js'

interface Options {
  only?: string
  long?: true
  jobs: number
  cases?: string
}

function makeCommand(): Command {
  return new Command('lab-mutants')
    .description(
      'Builds Linux 6.12 and 7.x with faults in fs/fuse, of which a parameter chooses one, and runs on each the cells that have to find it. ' +
        `Ends with ${EXIT_AS_EXPECTED} when all are found, and every case finds one.`,
    )
    .option('--only <numbers>', 'only these faults, such as "1 2 30-39"')
    .option('--long', 'also cases that take a minute')
    .option('--jobs <guests>', 'guests side by side', readJobs, availableParallelism())
    .option('--cases <globs>', 'look for each fault with these cases on all their shares, until one finds it')
}

async function run({ only, long, jobs, cases }: Options): Promise<number> {
  const mutants = chooseMutants(only)
  const isShort = new Set(
    allCases.filter(({ seconds }) => long || seconds === undefined).map(({ name }) => name),
  )
  const chosenCells = cases === undefined ? cellsOf : () => cellsMatching(cases)
  const settings = {
    jobs,
    cellsOf: (mutant: Mutant) => chosenCells(mutant).filter(({ labCase }) => isShort.has(labCase.name)),
    stopsAtFirst: cases !== undefined,
    ended: (finding: Finding) => say(lineOf(finding)),
  }
  const findings: Finding[] = []
  const unhealthy: string[] = []
  for (const name of SOURCE_NAMES) {
    const chosen = mutants.filter((mutant) => kernelOf(mutant) === name)
    if (chosen.length === 0) continue
    const mutantRun = new MutantRun(await buildMutated(name), settings)
    findings.push(...(await mutantRun.run(chosen)))
    unhealthy.push(...mutantRun.unhealthy.map((cell) => `Linux ${name} without a fault, ${cell}`))
  }
  return report(findings, unhealthy, only === undefined && cases === undefined ? [...isShort] : [])
}

/** Builds one kernel with all its faults. */
async function buildMutated(name: SourceName): Promise<string> {
  const all = allMutants.filter((mutant) => kernelOf(mutant) === name)
  return buildKernel(await makeMutatedTree(name, all))
}

function readJobs(text: string): number {
  const jobs = Number(text)
  if (Number.isInteger(jobs) && jobs >= 1) return jobs
  throw new SetupError(`--jobs ${text}: give a number of guests, at least 1`)
}

/** Faults by numbers and ranges of numbers, in the order of their list. */
function chooseMutants(only: string | undefined): readonly Mutant[] {
  if (only === undefined) return allMutants
  const chosen = new Set<Mutant>()
  for (const word of only.trim().split(/[\s,]+/)) {
    const [first, last = first] = word.split('-').map(Number)
    const found = allMutants.filter(({ id }) => id >= first! && id <= last!)
    if (found.length === 0) throw new SetupError(`no fault has the number ${word}`)
    for (const mutant of found) chosen.add(mutant)
  }
  return allMutants.filter((mutant) => chosen.has(mutant))
}

function lineOf(finding: Finding): string {
  const { mutant, seen, seconds } = finding
  const word = isFound(finding) ? 'found   ' : 'SURVIVED'
  // Of a search, the cells that found nothing are too many to name.
  const shown = seen.length <= 8 ? seen : seen.filter(({ isUnexpected }) => isUnexpected)
  const cells = shown.map(({ cell, observed }) => `${cell}: ${observed}`).join('; ')
  const number = `${mutant.id}`.padStart(4)
  return `${word} ${number}  ${mutant.what} (${seconds.toFixed(0)} s)\n                 ${cells || `${seen.length} cells`}`
}

function placeOf({ mutant }: Finding): string {
  return `${kernelOf(mutant)} ${mutant.file}`
}

function report(
  findings: readonly Finding[],
  unhealthy: readonly string[],
  cases: readonly string[],
): number {
  const found = findings.filter(isFound)
  const finders = new Set(
    findings.flatMap(({ seen }) =>
      seen.filter(({ isUnexpected }) => isUnexpected).map((sight) => sight.caseName),
    ),
  )
  const idle = cases.filter((name) => !finders.has(name))
  const places = [...new Set(findings.map(placeOf))]
  const rows = places.map((place) => {
    const here = findings.filter((finding) => placeOf(finding) === place)
    return [...place.split(' '), `${here.filter(isFound).length} of ${here.length}`]
  })
  const percent = ((100 * found.length) / findings.length).toFixed(0)
  say(`\n${ruledTable([{ title: 'Linux' }, { title: 'fs/fuse' }, { title: 'found' }], rows)}`)
  say(`${found.length} of ${findings.length} faults found (${percent} %)`)
  for (const finding of findings)
    if (!isFound(finding)) say(`survived: ${finding.mutant.id} ${finding.mutant.what}`)
  for (const cell of unhealthy) say(`not as expected: ${cell}`)
  if (idle.length > 0) say(`cases that found none: ${idle.join(', ')}`)
  const isGood = found.length === findings.length && idle.length === 0 && unhealthy.length === 0
  return isGood ? EXIT_AS_EXPECTED : EXIT_UNEXPECTED
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runForVerdict(makeCommand(), run)

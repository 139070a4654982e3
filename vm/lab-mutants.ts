/** `make lab-mutants`: small faults in fs/fuse, one after the other, and which of them the lab finds. */
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { SetupError } from './host/setup-error.js'
import { allCases } from './lab/all-cases.js'
import { EXIT_AS_EXPECTED, EXIT_UNEXPECTED, runForVerdict } from './lab/exit-status.js'
import { allMutants } from './lab/mutants/all-mutants.js'
import { kernelOf, type Mutant } from './lab/mutants/mutant.js'
import { type CellChoice, cellsOf, type Finding, MutantRun } from './lab/mutants/mutant-run.js'
import { makeMutatedTree } from './lab/mutants/mutated-tree.js'
import { buildKernel } from './lab/tree/build-kernel.js'
import { SOURCE_NAMES, type SourceName } from './lab/tree/kernel-source.js'

interface Options {
  only?: string
  long?: true
}

function makeCommand(): Command {
  return new Command('lab-mutants')
    .description(
      'Builds Linux 6.12 and 7.x with faults in fs/fuse, of which a parameter chooses one, and runs on each the cells that have to find it. ' +
        `Ends with ${EXIT_AS_EXPECTED} when all are found, and every case finds one.`,
    )
    .option('--only <numbers>', 'only these faults, such as "1 2 35"')
    .option('--long', 'also cases that take a minute')
}

async function run({ only, long }: Options): Promise<number> {
  const mutants = chooseMutants(only)
  const isShort = new Set(
    allCases.filter(({ seconds }) => long || seconds === undefined).map(({ name }) => name),
  )
  const cells = (mutant: Mutant) => cellsOf(mutant).filter(({ labCase }) => isShort.has(labCase.name))
  const findings: Finding[] = []
  for (const name of SOURCE_NAMES) {
    const chosen = mutants.filter((mutant) => kernelOf(mutant) === name)
    if (chosen.length > 0) findings.push(...(await lookAt(name, chosen, cells)))
  }
  return report(findings, only === undefined ? [...isShort] : [])
}

/** Builds one kernel with its faults, and runs the cells on each of the chosen ones. */
async function lookAt(
  name: SourceName,
  mutants: readonly Mutant[],
  cells: (mutant: Mutant) => CellChoice[],
): Promise<Finding[]> {
  const all = allMutants.filter((mutant) => kernelOf(mutant) === name)
  const mutantRun = new MutantRun(await buildKernel(await makeMutatedTree(name, all)))
  const findings: Finding[] = []
  try {
    const healthy = await mutantRun.checkHealthy(mutants, cells)
    if (healthy.length > 0)
      throw new SetupError(`Linux ${name} without a fault is not as expected: ${healthy.join(', ')}`)
    for (const mutant of mutants) {
      const finding = await mutantRun.look(mutant, cells(mutant))
      findings.push(finding)
      say(lineOf(finding))
    }
  } finally {
    await mutantRun.end()
  }
  return findings
}

function chooseMutants(only: string | undefined): readonly Mutant[] {
  if (only === undefined) return allMutants
  return only.split(/[\s,]+/).map((word) => {
    const found = allMutants.find(({ id }) => `${id}` === word)
    if (found === undefined) throw new SetupError(`no fault has the number ${word}`)
    return found
  })
}

function lineOf({ mutant, seen }: Finding): string {
  const word = isFound({ mutant, seen }) ? 'found   ' : 'SURVIVED'
  const cells = seen.map(({ cell, observed }) => `${cell}: ${observed}`).join('; ')
  return `${word} ${`${mutant.id}`.padStart(4)}  ${mutant.what}\n                 ${cells}`
}

function placeOf({ mutant }: Finding): string {
  return `${kernelOf(mutant)} ${mutant.file}`
}

function isFound({ seen }: Finding): boolean {
  return seen.some(({ isUnexpected }) => isUnexpected)
}

function report(findings: readonly Finding[], cases: readonly string[]): number {
  const found = findings.filter(isFound)
  const finders = new Set(
    findings.flatMap(({ seen }) =>
      seen.filter(({ isUnexpected }) => isUnexpected).map(({ cell }) => cell.split('@')[0]),
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
  if (idle.length > 0) say(`cases that found none: ${idle.join(', ')}`)
  return found.length === findings.length && idle.length === 0 ? EXIT_AS_EXPECTED : EXIT_UNEXPECTED
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

await runForVerdict(makeCommand(), run)

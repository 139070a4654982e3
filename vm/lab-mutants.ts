/** `make lab-mutants`: small faults in fs/fuse, one after the other, and which of them the lab finds. */
import { Command } from 'commander'
import { ruledTable } from '../src/commands/text-table.js'
import { SetupError } from './host/setup-error.js'
import { allCases } from './lab/all-cases.js'
import { EXIT_AS_EXPECTED, EXIT_UNEXPECTED, runForVerdict } from './lab/exit-status.js'
import { allMutants } from './lab/mutants/all-mutants.js'
import type { Mutant } from './lab/mutants/mutant.js'
import { cellsOf, type Finding, MutantRun } from './lab/mutants/mutant-run.js'
import { makeMutatedTree } from './lab/mutants/mutated-tree.js'
import { buildKernel } from './lab/tree/build-kernel.js'

interface Options {
  only?: string
  long?: true
}

function makeCommand(): Command {
  return new Command('lab-mutants')
    .description(
      'Builds Linux 6.12 with faults in fs/fuse, of which a parameter chooses one, and runs on each the cells that have to find it. ' +
        `Ends with ${EXIT_AS_EXPECTED} when all are found, and every case finds one.`,
    )
    .option('--only <numbers>', 'only these faults, such as "1 2 35"')
    .option('--long', 'also cases that take a minute')
}

async function run({ only, long }: Options): Promise<number> {
  const mutants = chooseMutants(only)
  const image = await buildKernel(await makeMutatedTree(allMutants))
  const isShort = new Set(
    allCases.filter(({ seconds }) => long || seconds === undefined).map(({ name }) => name),
  )
  const cells = (mutant: Mutant) => cellsOf(mutant).filter(({ labCase }) => isShort.has(labCase.name))
  const mutantRun = new MutantRun(image)
  const findings: Finding[] = []
  try {
    const healthy = await mutantRun.checkHealthy(mutants.flatMap(cells))
    if (healthy.length > 0)
      throw new SetupError(`without a fault, these are not as expected: ${healthy.join(', ')}`)
    for (const mutant of mutants) {
      const finding = await mutantRun.look(mutant, cells(mutant))
      findings.push(finding)
      say(lineOf(finding))
    }
  } finally {
    await mutantRun.end()
  }
  return report(findings, only === undefined ? [...isShort] : [])
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
  const files = [...new Set(findings.map(({ mutant }) => mutant.file))]
  const rows = files.map((file) => {
    const here = findings.filter(({ mutant }) => mutant.file === file)
    return [file, `${here.filter(isFound).length} of ${here.length}`]
  })
  const percent = ((100 * found.length) / findings.length).toFixed(0)
  say(`\n${ruledTable([{ title: 'fs/fuse' }, { title: 'found' }], rows)}`)
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

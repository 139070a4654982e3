import { selectCases } from '../all-cases.js'
import type { LabCase } from '../case.js'
import { rulesOf } from '../expectations.js'
import { LabGuest } from '../lab-guest.js'
import { OPTION_SETS, type OptionSet, type ShareName } from '../option-sets.js'
import type { Cell } from '../result.js'
import { runCell } from '../runner.js'
import type { ServerName } from '../servers/lab-server.js'
import type { Mutant } from './mutant.js'
import { PARAMETER, PARAMETER_FILE } from './mutated-tree.js'

export interface CellChoice {
  readonly labCase: LabCase
  readonly share: ShareName
}

/** The observations of the cells that have to find a fault. */
export interface Finding {
  readonly mutant: Mutant
  readonly seen: readonly { cell: string; observed: string; isUnexpected: boolean }[]
}

/** The cells that have to find a fault. */
export function cellsOf({ caughtBy }: Mutant): CellChoice[] {
  return caughtBy.map((cell) => {
    const [name, share] = cell.split('@') as [string, ShareName]
    return { labCase: selectCases(name)[0]!, share }
  })
}

const RULES = rulesOf()

/** One kernel with all faults. A guest for each server runs until a fault stops it. Faults at mount have their own guests. */
export class MutantRun {
  private readonly labs = new Map<ServerName, LabGuest>()
  private runs = 0

  constructor(private readonly image: string) {}

  /** Cells with unexpected outcomes although no fault is on, as "case@share: observed". */
  async checkHealthy(mutants: readonly Mutant[], cells: (mutant: Mutant) => CellChoice[]): Promise<string[]> {
    const checked = new Set<string>()
    const wrong: string[] = []
    for (const mutant of mutants)
      for (const choice of cells(mutant)) {
        const name = `${nameOf(choice)} ${serverOf(mutant)}`
        if (checked.has(name)) continue
        checked.add(name)
        const cell = await this.runOn(await this.guest(serverOf(mutant)), choice)
        if (cell.verdict !== 'as expected')
          wrong.push(`${nameOf(choice)}: ${cell.observed} ${cell.trouble.join(' ')}`)
      }
    return wrong
  }

  async look(mutant: Mutant, cells: readonly CellChoice[]): Promise<Finding> {
    const seen: Finding['seen'][number][] = []
    for (const choice of cells) {
      const cell = mutant.atMount
        ? await this.runMounted(mutant, choice)
        : await this.runFaulty(mutant, choice)
      const isUnexpected = cell.verdict === 'unexpected'
      const complaint = cell.trouble.length > 0 ? ', and the kernel complains' : ''
      seen.push({ cell: nameOf(choice), observed: `${cell.observed}${complaint}`, isUnexpected })
    }
    return { mutant, seen }
  }

  async end(): Promise<void> {
    for (const server of [...this.labs.keys()]) await this.endGuest(server)
  }

  /** Switches a fault on for one cell. */
  private async runFaulty(mutant: Mutant, choice: CellChoice): Promise<Cell> {
    const server = serverOf(mutant)
    const lab = await this.guest(server)
    await choose(lab, mutant.id)
    const cell = await this.runOn(lab, choice)
    // A fault can spoil only the case's own files, which no other cell uses.
    if (cell.observed !== 'hangs' && (await lab.isAlive())) await choose(lab, 0)
    else await this.endGuest(server)
    return cell
  }

  private async runMounted({ id }: Mutant, choice: CellChoice): Promise<Cell> {
    const sets = OPTION_SETS.filter(({ name }) => name === choice.share)
    const lab = await boot(this.image, 'virtiofsd-ts', sets, [`${PARAMETER}=${id}`])
    try {
      return await this.runOn(lab, choice)
    } finally {
      await lab.stop()
    }
  }

  private runOn(lab: LabGuest, { labCase, share }: CellChoice): Promise<Cell> {
    return runCell(lab, labCase, share, RULES, `-${this.runs++}`)
  }

  private async guest(server: ServerName): Promise<LabGuest> {
    const known = this.labs.get(server)
    if (known !== undefined) return known
    const lab = await boot(this.image, server, OPTION_SETS, [])
    this.labs.set(server, lab)
    return lab
  }

  private async endGuest(server: ServerName): Promise<void> {
    await this.labs.get(server)?.stop()
    this.labs.delete(server)
  }
}

function serverOf({ server = 'virtiofsd-ts' }: Mutant): ServerName {
  return server
}

function boot(
  image: string,
  server: ServerName,
  sets: readonly OptionSet[],
  kernelArgs: readonly string[],
): Promise<LabGuest> {
  return LabGuest.boot({ kernel: 'with faults', image, server, kernelArgs }, sets)
}

async function choose(lab: LabGuest, id: number): Promise<void> {
  await lab.guest.output(`echo ${id} >${PARAMETER_FILE}`)
}

function nameOf({ labCase, share }: CellChoice): string {
  return `${labCase.name}@${share}`
}

import { selectCases } from '../all-cases.js'
import type { LabCase } from '../case.js'
import { rulesOf } from '../expectations.js'
import { LabGuest } from '../lab-guest.js'
import { OPTION_SETS, type OptionSet, type ShareName } from '../option-sets.js'
import type { Cell } from '../result.js'
import { runCell } from '../runner.js'
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

/** One kernel with all faults. A guest runs until a fault stops it. Faults at mount have their own guests. */
export class MutantRun {
  private lab: LabGuest | undefined
  private runs = 0

  constructor(private readonly image: string) {}

  /** Cells with unexpected outcomes although no fault is on, as "case@share: observed". */
  async checkHealthy(cells: readonly CellChoice[]): Promise<string[]> {
    const different = new Map(cells.map((choice) => [nameOf(choice), choice]))
    const wrong: string[] = []
    for (const choice of different.values()) {
      const cell = await this.runOn(await this.guest(), choice)
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
    await this.lab?.stop()
    this.lab = undefined
  }

  /** Switches a fault on for one cell. */
  private async runFaulty({ id }: Mutant, choice: CellChoice): Promise<Cell> {
    const lab = await this.guest()
    await choose(lab, id)
    const cell = await this.runOn(lab, choice)
    // A fault can spoil only the case's own files, which no other cell uses.
    if (cell.observed !== 'hangs' && (await lab.isAlive())) await choose(lab, 0)
    else await this.end()
    return cell
  }

  private async runMounted({ id }: Mutant, choice: CellChoice): Promise<Cell> {
    const sets = OPTION_SETS.filter(({ name }) => name === choice.share)
    const lab = await boot(this.image, sets, [`${PARAMETER}=${id}`])
    try {
      return await this.runOn(lab, choice)
    } finally {
      await lab.stop()
    }
  }

  private runOn(lab: LabGuest, { labCase, share }: CellChoice): Promise<Cell> {
    return runCell(lab, labCase, share, RULES, `-${this.runs++}`)
  }

  private async guest(): Promise<LabGuest> {
    this.lab ??= await boot(this.image, OPTION_SETS, [])
    return this.lab
  }
}

function boot(image: string, sets: readonly OptionSet[], kernelArgs: readonly string[]): Promise<LabGuest> {
  return LabGuest.boot({ kernel: 'with faults', image, kernelArgs }, sets)
}

async function choose(lab: LabGuest, id: number): Promise<void> {
  await lab.guest.output(`echo ${id} >${PARAMETER_FILE}`)
}

function nameOf({ labCase, share }: CellChoice): string {
  return `${labCase.name}@${share}`
}

import { rulesOf } from '../expectations.js'
import { LabGuest } from '../lab-guest.js'
import { OPTION_SETS, type OptionSet, type ShareName } from '../option-sets.js'
import type { Cell } from '../result.js'
import { canRun, runCell } from '../runner.js'
import type { ServerName } from '../servers/lab-server.js'
import type { CellChoice } from './cell-choice.js'
import type { Mutant } from './mutant.js'
import { PARAMETER, PARAMETER_FILE } from './mutated-tree.js'

const RULES = rulesOf()

/** One guest at a time for each server, until a fault stops it. Faults at mount have their own guests. */
export class MutantGuest {
  private readonly labs = new Map<ServerName, LabGuest>()
  private runs = 0

  /** @param image The kernel with all faults. */
  constructor(private readonly image: string) {}

  /** Runs a cell while no fault is on. Returns undefined if the server lacks its share. */
  async runHealthy(choice: CellChoice, server: ServerName): Promise<Cell | undefined> {
    const lab = await this.guest(server)
    if (!canRun(lab, choice.labCase, choice.share)) return undefined
    const cell = await this.runOn(lab, choice)
    if (!(await isWell(lab, cell))) await this.endGuest(server)
    return cell
  }

  /** Runs a cell while a fault is on. */
  async runFaulty(mutant: Mutant, choice: CellChoice): Promise<Cell> {
    if (mutant.atMount) return this.runMounted(mutant, choice)
    const server = serverOf(mutant)
    const lab = await this.guest(server)
    await choose(lab, mutant.id)
    const cell = await this.runOn(lab, choice)
    // A fault can spoil only the case's own files, which no other cell uses.
    if (await isWell(lab, cell)) await choose(lab, 0)
    else await this.endGuest(server)
    return cell
  }

  async end(): Promise<void> {
    for (const server of [...this.labs.keys()]) await this.endGuest(server)
  }

  private async runMounted({ id }: Mutant, choice: CellChoice): Promise<Cell> {
    const { share, labCase } = choice
    const needed: ReadonlySet<ShareName | undefined> = new Set([share, labCase.beside])
    const sets = OPTION_SETS.filter(({ name }) => needed.has(name))
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

export function serverOf({ server = 'virtiofsd-ts' }: Mutant): ServerName {
  return server
}

async function isWell(lab: LabGuest, { observed }: Cell): Promise<boolean> {
  return observed !== 'hangs' && (await lab.isAlive())
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

import type { Cell } from '../result.js'
import { type CellChoice, nameOf } from './cell-choice.js'
import type { Mutant } from './mutant.js'
import { MutantGuest, serverOf } from './mutant-guest.js'

/** What the cells showed while a fault was on. */
export interface Finding {
  readonly mutant: Mutant
  readonly seen: readonly Sight[]
  readonly seconds: number
}

export interface Sight {
  readonly cell: string
  readonly caseName: string
  readonly observed: string
  /** The cell finds the fault. */
  readonly isUnexpected: boolean
}

export function isFound({ seen }: Finding): boolean {
  return seen.some(({ isUnexpected }) => isUnexpected)
}

export interface RunSettings {
  /** Guests side by side. */
  readonly jobs: number
  readonly cellsOf: (mutant: Mutant) => readonly CellChoice[]
  /** Ends a fault with the first cell that finds it. Otherwise cells go on whose case has found nothing yet. */
  readonly stopsAtFirst: boolean
  readonly ended: (finding: Finding) => void
}

/** Looks for faults in a kernel that has them all, with several guests side by side. */
export class MutantRun {
  /** Cells without a fault, by their names and servers. */
  private readonly healthy = new Map<string, Promise<Cell | undefined>>()
  /** Names of cases that have found something. */
  private readonly finders = new Set<string>()
  /** Cells that are not as expected without a fault, as "case@share: observed". They find nothing. */
  readonly unhealthy: string[] = []

  constructor(
    private readonly image: string,
    private readonly settings: RunSettings,
  ) {}

  async run(mutants: readonly Mutant[]): Promise<Finding[]> {
    const { jobs, ended } = this.settings
    const findings: Finding[] = []
    const waiting = [...mutants]
    const work = async (): Promise<void> => {
      const guest = new MutantGuest(this.image)
      try {
        for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
          const finding = await this.look(guest, mutant)
          findings.push(finding)
          ended(finding)
        }
      } finally {
        await guest.end()
      }
    }
    await Promise.all(Array.from({ length: Math.min(jobs, mutants.length) }, work))
    return findings
  }

  private async look(guest: MutantGuest, mutant: Mutant): Promise<Finding> {
    const { cellsOf, stopsAtFirst } = this.settings
    const startMs = performance.now()
    const seen: Sight[] = []
    let found = false
    for (const choice of cellsOf(mutant)) {
      if (found && (stopsAtFirst || this.finders.has(choice.labCase.name))) continue
      const healthy = await this.checkHealthy(guest, choice, mutant)
      if (healthy !== 'as expected') continue
      const sight = sightOf(choice, await guest.runFaulty(mutant, choice))
      seen.push(sight)
      if (!sight.isUnexpected) continue
      found = true
      this.finders.add(choice.labCase.name)
    }
    return { mutant, seen, seconds: (performance.now() - startMs) / 1000 }
  }

  /** The verdict of a cell without a fault, which is run once. */
  private async checkHealthy(
    guest: MutantGuest,
    choice: CellChoice,
    mutant: Mutant,
  ): Promise<Cell['verdict'] | undefined> {
    const server = serverOf(mutant)
    const name = `${nameOf(choice)} ${server}`
    let running = this.healthy.get(name)
    if (running === undefined) {
      running = guest.runHealthy(choice, server)
      this.healthy.set(name, running)
      const cell = await running
      if (cell?.verdict === 'unexpected')
        this.unhealthy.push(`${nameOf(choice)}: ${cell.observed} ${cell.trouble.join(' ')}`)
    }
    return (await running)?.verdict
  }
}

function sightOf(choice: CellChoice, { observed, trouble, verdict }: Cell): Sight {
  const complaint = trouble.length > 0 ? ', and the kernel complains' : ''
  return {
    cell: nameOf(choice),
    caseName: choice.labCase.name,
    observed: `${observed}${complaint}`,
    isUnexpected: verdict === 'unexpected',
  }
}

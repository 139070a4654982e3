/** make kills: the program is sent signals at random moments, COUNT times; nothing may be left of it. */
import { parseArgs } from 'node:util'
import { isRoot } from '../support/device/cases.js'
import { Random } from '../support/random.js'
import { killRound, type Plan, randomPlan } from './kill-rounds.js'

const AT_A_TIME = 4

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '300' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
})
const count = Number(values.count)
const random = new Random(Number(values.seed))
const sandboxes = isRoot ? (['namespace', 'chroot', 'none'] as const) : (['namespace', 'none'] as const)
const plans = Array.from({ length: count }, () => randomPlan(random, sandboxes))
const waiting = [...plans]
let faulty = 0

async function carryOut(plan: Plan): Promise<void> {
  const faults = await killRound(plan).catch((error: Error) => [error.message])
  if (faults.length === 0) return
  faulty++
  process.stdout.write(`${JSON.stringify(plan)}\n  ${faults.join('\n  ')}\n`)
}

async function work(): Promise<void> {
  for (let plan = waiting.pop(); plan !== undefined; plan = waiting.pop()) await carryOut(plan)
}

await Promise.all(Array.from({ length: AT_A_TIME }, work))
const tally = (of: (plan: Plan) => string) => {
  const counts = new Map<string, number>()
  for (const plan of plans) counts.set(of(plan), (counts.get(of(plan)) ?? 0) + 1)
  return [...counts].map(([name, n]) => `${n} ${name}`).join(', ')
}
process.stdout.write(`seed ${values.seed}: ${faulty} of ${count} left something, or did not end\n`)
for (const of of [
  (plan: Plan) => plan.phase,
  (plan: Plan) => plan.signal,
  (plan: Plan) => plan.victim,
  (plan: Plan) => plan.sandbox,
])
  process.stdout.write(`  ${tally(of)}\n`)
if (faulty > 0) process.exitCode = 1

/** Signals at random moments, to any process of the program: what `make kills` does hundreds of times. */
import t from 'tap'
import { killRound, randomPlan } from '../soak/kill-rounds.js'
import { isRoot } from '../support/device/cases.js'
import { seeded } from '../support/random.js'

const ROUNDS = 24

t.setTimeout(280_000)

t.test(`${ROUNDS} signals at random moments leave nothing behind`, async (t) => {
  const random = seeded(t)
  const sandboxes = isRoot ? (['namespace', 'chroot', 'none'] as const) : (['namespace', 'none'] as const)
  for (let n = 0; n < ROUNDS; n++) {
    const plan = randomPlan(random, sandboxes)
    t.same(await killRound(plan), [], JSON.stringify(plan))
  }
})

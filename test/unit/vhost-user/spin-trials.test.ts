import t from 'tap'
import { SpinTrials } from '#vhost-user/spin-trials'

const MANY = 100_000

/** Idle times of a guest that sends one request at a time. A spin and a sleep take so much processor time. */
class Guest {
  readonly trials = new SpinTrials(() => this.cpuNs)
  cpuNs = 0
  requests = 0

  constructor(
    public spinNs: number,
    public sleepNs: number,
  ) {}

  /** One idle time. Returns true if it began with a spin. */
  idle(happens: (trials: SpinTrials) => void = () => {}): boolean {
    const { trials } = this
    const { spins } = trials
    this.cpuNs += spins ? this.spinNs : this.sleepNs
    if (spins) happens(trials)
    trials.idled(++this.requests)
    return spins
  }

  /** Returns how many of `count` idle times began with a spin. */
  spinsOf(count: number, happens?: (trials: SpinTrials) => void): number {
    let spins = 0
    for (let n = 0; n < count; n++) if (this.idle(happens)) spins++
    return spins
  }
}

t.test('a spin that is cheaper than a sleep stays, but for rare comparisons', async (t) => {
  const guest = new Guest(10, 40)
  t.ok(guest.spinsOf(1000) > 850)
  t.ok(guest.spinsOf(MANY) > 0.99 * MANY)
})

t.test('a spin that takes more than a sleep ends, and is tried again rarely', async (t) => {
  const guest = new Guest(41, 40)
  t.ok(guest.spinsOf(1000) < 250)
  t.ok(guest.spinsOf(MANY) < 0.01 * MANY)
})

t.test('a load that changes is noticed, and then watched closely', async (t) => {
  const guest = new Guest(10, 40)
  guest.spinsOf(MANY)
  guest.spinNs = 50
  t.ok(guest.spinsOf(20_000) < 20_000)
  t.ok(guest.spinsOf(20_000) < 500)
  guest.spinNs = 10
  guest.spinsOf(20_000)
  t.ok(guest.spinsOf(20_000) > 19_000)
})

t.test('what is compared is the time for each request, not for each idle time', async (t) => {
  let cpuNs = 0
  let requests = 0
  let spins = 0
  const trials = new SpinTrials(() => cpuNs)
  for (let n = 0; n < MANY; n++) {
    if (trials.spins) spins++
    // Awake all the time, it takes each request alone. After a sleep there are ten.
    cpuNs += trials.spins ? 20 : 100
    requests += trials.spins ? 1 : 10
    trials.idled(requests)
  }
  t.ok(spins < 0.01 * MANY)
})

t.test('a load that grows or falls steadily favours neither', async (t) => {
  for (const step of [1, -1]) {
    const guest = new Guest(100_000, 100_001)
    const end = 2000
    let spins = 0
    for (let n = 0; n < end; n++) {
      guest.cpuNs += step * n
      if (guest.idle()) spins++
    }
    t.ok(spins > 0.8 * end, `${spins} of ${end}`)
  }
})

t.test('where a sender waits for our processor, spinning ends within eight requests', async (t) => {
  const guest = new Guest(10, 40)
  t.equal(
    guest.spinsOf(100, (trials) => trials.missed(true)),
    8,
  )
  guest.spinsOf(MANY)
  const spins = Array.from({ length: 7 }, () => guest.idle((trials) => trials.missed(true)))
  t.ok(guest.idle((trials) => trials.caught()))
  t.ok(
    spins.every(Boolean) && guest.idle((trials) => trials.missed(true)),
    'one that caught something begins anew',
  )
})

const SLICE_NS = 3_000_000

t.test('where others take our processor, spinning ends at once, and is tried again rarely', async (t) => {
  const guest = new Guest(10, 40)
  const lose = (trials: SpinTrials) => trials.lostProcessor(SLICE_NS)
  t.equal(guest.spinsOf(100, lose), 1)
  t.ok(guest.spinsOf(MANY, lose) < 20)
})

t.test('a spin in fifty that loses the processor is one too many', async (t) => {
  const guest = new Guest(10, 40)
  let n = 0
  const mostlyCatch = (trials: SpinTrials) =>
    ++n % 50 === 0 ? trials.lostProcessor(SLICE_NS) : trials.caught()
  t.ok(guest.spinsOf(MANY, mostlyCatch) < 0.02 * MANY)
})

t.test('a processor that is lost once in a while is worth no rest', async (t) => {
  const guest = new Guest(10, 40)
  let n = 0
  const mostlyCatch = (trials: SpinTrials) =>
    ++n % 1000 === 0 ? trials.lostProcessor(SLICE_NS) : trials.caught()
  t.ok(guest.spinsOf(MANY, mostlyCatch) > 0.98 * MANY)
})

t.test('without any request, spins stay', async (t) => {
  const trials = new SpinTrials(() => 0)
  for (let n = 0; n < 1000; n++) trials.idled(0)
  t.equal(trials.spins, true)
})

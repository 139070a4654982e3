/** How the lab judges a cell, without a guest. */
import t from 'tap'
import type { LabCase } from '../../vm/lab/case.js'
import { rulesOf } from '../../vm/lab/expectations.js'
import type { LabGuest } from '../../vm/lab/lab-guest.js'
import { runCell } from '../../vm/lab/runner.js'

const labCase: LabCase = {
  name: 'data/nothing',
  question: 'does nothing',
  shares: ['direct'],
  expected: () => 'right',
  run: async () => ({ observed: 'right', evidence: '' }),
}

/** A guest whose server ends its trace like this. Only these members are used. */
function labWith(endTrace: () => Promise<unknown>): LabGuest {
  return {
    device: { startTrace: async () => {}, endTrace, ask: async () => {}, commandLines: [] },
    trace: { events: async () => [], connectionOf: async () => 0 },
    guest: { commandLine: [] },
    factsOf: () => ({}),
    takeKernelTrouble: async () => [],
  } as unknown as LabGuest
}

t.test('a cell whose trace cannot be had is not as expected', async (t) => {
  const lost = labWith(() => Promise.reject(new Error('the trace lacks 3 requests\nand more')))
  t.match(await runCell(lost, labCase, 'direct', rulesOf()), {
    verdict: 'unexpected',
    observed: 'right; the trace lacks 3 requests',
  })
})

t.test('a cell whose server has no trace, or nothing to trace, is as expected', async (t) => {
  for (const traced of [undefined, []])
    t.match(
      await runCell(
        labWith(async () => traced),
        labCase,
        'direct',
        rulesOf(),
      ),
      {
        verdict: 'as expected',
        observed: 'right',
      },
    )
})

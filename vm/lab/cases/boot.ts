import type { LabCase } from '../case.js'
import { flagsOf } from '../kernel-rules.js'

export const bootCases: readonly LabCase[] = [
  {
    name: 'boot/log',
    question: "the kernel's log until all shares were mounted",
    shares: ['direct'],
    expected: () => 'quiet',
    run: async (scene) => ({
      observed: scene.bootTrouble.length === 0 ? 'quiet' : 'complains',
      evidence: scene.bootTrouble.join('\n'),
    }),
  },
  {
    name: 'boot/flags',
    question: 'the INIT flags that the kernel offers, of those that its version has',
    needs: 'virtio',
    shares: ['direct', 'mmap'],
    expected: (facts) => (flagsOf(facts) === undefined ? undefined : 'all'),
    run: async ({ facts }) => {
      const lacking = (flagsOf(facts) ?? []).filter((name) => facts.flags?.includes(name) !== true)
      return {
        observed: lacking.length === 0 ? 'all' : `lacks ${lacking.join(', ')}`,
        evidence: facts.flags?.join(' ') ?? '',
      }
    },
  },
]

import type { LabCase } from '../case.js'

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
]

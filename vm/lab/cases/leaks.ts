import type { LabCase, Observation } from '../case.js'
import type { Scene } from '../scene.js'

const KMEMLEAK = '/sys/kernel/debug/kmemleak'
/** kmemleak does not report younger memory. */
const YOUNG_SECONDS = 6
const TIMEOUT_MS = 300_000

/** Asks kmemleak for memory that fs/fuse or virtio has lost since the guest's boot. Needs FLAVOUR=debug. */
async function lostMemory({ guest }: Scene): Promise<Observation> {
  const find = `mount -t debugfs none /sys/kernel/debug 2>/dev/null; test -f ${KMEMLEAK} && echo yes || true`
  if ((await guest.output(find)).trim() !== 'yes') return { observed: undefined, evidence: '' }
  // Only what two scans found unreferenced, and unchanged, is reported.
  const scan = `echo scan >${KMEMLEAK}`
  const report = await guest.output(`sleep ${YOUNG_SECONDS}; ${scan}; ${scan}; cat ${KMEMLEAK}`, {
    timeoutMs: TIMEOUT_MS,
  })
  const lost = report.split(/^(?=unreferenced object)/m).filter((text) => /fuse|virtio/.test(text))
  return { observed: lost.length === 0 ? 'none' : `${lost.length} objects`, evidence: lost[0]?.trim() ?? '' }
}

/** They run last. */
export const leakCases: readonly LabCase[] = [
  {
    name: 'leaks/kmemleak',
    question: 'memory that all cases before have lost, by kmemleak (FLAVOUR=debug)',
    shares: ['direct'],
    seconds: YOUNG_SECONDS,
    expected: () => 'none',
    run: lostMemory,
  },
]

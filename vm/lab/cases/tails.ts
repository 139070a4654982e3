/** The rest of a file's last page. A store through a mapping can dirty it; a file that grows must show zeros there. */
import { constants } from 'node:fs'
import type { LabCase, Observation } from '../case.js'
import { type GuestFacts, zeroesTail } from '../kernel-rules.js'
import type { ShareName } from '../option-sets.js'
import type { Scene } from '../scene.js'

const { O_CREAT, O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const NEW = 2
const JUNK = 99
const FILE_BYTES = 5000
const JUNK_AT = 5500
const JUNK_BYTES = 100
const GROWN_BYTES = 12_000
const LAST = 100

/** Ways to make a file longer. Each ends it at GROWN_BYTES. */
const GROWTHS = {
  truncate: `truncate f ${GROWN_BYTES}`,
  allocate: `allocate f 0 0 ${GROWN_BYTES}`,
  write: `write f ${LAST} ${GROWN_BYTES - LAST} ${NEW}`,
} as const
type Growth = keyof typeof GROWTHS

/** Stores behind the end of the file, and lets the file grow. */
async function grow(scene: Scene, growth: Growth): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`map m f ${2 * PAGE} shared rw`)
  await actor.do(`poke m ${JUNK_BYTES} ${JUNK_AT} ${JUNK}`)
  await actor.do(GROWTHS[growth])
  scene.model(file).resize(GROWN_BYTES)
  if (growth === 'write') scene.model(file).fill(GROWN_BYTES - LAST, LAST, NEW)
  // Nothing writes the page back before msync does, so the host gets what stayed (see settleWriteBack).
  if (zerosFor(scene.facts, growth) === false) scene.model(file).fill(JUNK_AT, JUNK_BYTES, JUNK)
  const mapped = await actor.do(`peek m ${2 * PAGE - FILE_BYTES} ${FILE_BYTES}`)
  await actor.do('msync m')
  await actor.do('unmap m')
  await actor.do('close f')
  return { observed: nameTail(`${mapped}`), evidence: `bytes of the mapping: ${mapped}` }
}

function nameTail(runs: string): string {
  const behindBytes = 2 * PAGE - JUNK_AT - JUNK_BYTES
  const names: Readonly<Record<string, string>> = {
    [`0x${2 * PAGE - FILE_BYTES}`]: 'zeros',
    [`0x${JUNK_AT - FILE_BYTES} ${JUNK}x${JUNK_BYTES} 0x${behindBytes}`]: 'stays',
  }
  return names[runs] ?? runs
}

/**
 * Undefined where the release does not say. No kernel up to 7.3 zeroes the page for a direct write or for one that is written
 * back.
 */
function zerosFor(facts: GuestFacts, growth: Growth): boolean | undefined {
  if (growth === 'write' && (facts.share === 'mmap' || facts.share === 'writeback')) return false
  return zeroesTail(facts)
}

function expected(facts: GuestFacts, growth: Growth): string | undefined {
  const zeros = facts.asksMmap && !facts.allowMmap ? undefined : zerosFor(facts, growth)
  return zeros === undefined ? undefined : zeros ? 'zeros' : 'stays'
}

/** Maps the last page of a file, into memory that held something else before. */
async function lastPage(scene: Scene): Promise<Observation> {
  // What a file in memory leaves behind is what the next page is made of.
  const actor = scene.addActor()
  await actor.do(`open junk ${O_RDWR | O_CREAT} /tmp/lab-junk`)
  await actor.do(`write junk ${JUNK_FILE_BYTES} 0 ${JUNK}`)
  await actor.do('close junk')
  await scene.guest.output('rm /tmp/lab-junk')
  const file = scene.makeFile(FILE_BYTES, FILL)
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`map m f ${2 * PAGE} shared r`)
  const mapped = await actor.do(`peek m ${2 * PAGE - FILE_BYTES} ${FILE_BYTES}`)
  return { observed: nameTail(`${mapped}`), evidence: '' }
}

const JUNK_FILE_BYTES = 16 << 20

const SHARES: readonly ShareName[] = ['mmap', 'auto', 'always', 'writeback']

const growthCases: readonly LabCase[] = (Object.keys(GROWTHS) as Growth[]).map(
  (growth): LabCase => ({
    name: `data/tail-${growth}`,
    question: `what a store left behind the end of the file, after ${growth === 'write' ? 'a write' : growth} has made it longer`,
    shares: SHARES,
    expected: (facts) => expected(facts, growth),
    run: (scene) => grow(scene, growth),
  }),
)

export const tailCases: readonly LabCase[] = [
  ...growthCases,
  {
    name: 'mmap/last-page',
    question: 'a mapping of the last page of a file, behind its end',
    shares: ['auto', 'mmap'],
    expected: ({ asksMmap, allowMmap }) => (asksMmap && !allowMmap ? undefined : 'zeros'),
    run: lastPage,
  },
]

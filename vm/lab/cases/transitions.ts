/** One inode, and two opens of it in different modes. */
import { constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Actor, Outcome } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { told } from '../judging.js'
import type { Scene } from '../scene.js'
import type { OpenMode } from '../servers/lab-server.js'
import {
  caseNameOf,
  HOLDERS,
  type Holder,
  isPassthrough,
  NEWCOMERS,
  type Newcomer,
  transitionOf,
  transitionsText,
} from '../transitions.js'
import { SETTLED_MS } from './cache.js'

const { O_CREAT, O_RDWR } = constants
const FILE_BYTES = 8192
const PAGE = 4096
const FILL = 7
const NEW = 9

const newcomersOf = (share: string): readonly Newcomer[] =>
  NEWCOMERS.filter((to) => share === 'passthrough' || !isPassthrough(to))

async function meet(scene: Scene, from: Holder): Promise<Observation> {
  const outcomes: [Newcomer, string][] = []
  const waits: string[] = []
  for (const to of newcomersOf(scene.share)) {
    scene.beginPhase(to)
    const { outcome, asleep } = await meetOne(scene, from, to)
    outcomes.push([to, outcome])
    if (asleep !== '') waits.push(`${to} ${asleep}`)
  }
  return { observed: transitionsText(outcomes), evidence: waits.join(' | ') }
}

/** Each pair has its own file, and so its own inode. */
async function meetOne(
  scene: Scene,
  from: Holder,
  to: Newcomer,
): Promise<{ outcome: string; asleep: string }> {
  const file = scene.makeFile(FILE_BYTES, FILL, `-${to}`)
  if (from === 'cached' && to === 'cached') await sleep(SETTLED_MS)
  const [holder, newcomer] = [scene.addActor(), scene.addActor()]
  // A mapping needs an open, which comes before the second open here.
  if (to === 'mapped') await open(scene, newcomer, file, 'direct')
  await hold(scene, holder, file, from)
  await newcomer.start(to === 'mapped' ? `map m f ${FILE_BYTES} shared rw` : await openWords(scene, file, to))
  const { ended, waiting } = await scene.rest(newcomer)
  await scene.holdNothing()
  const [answer] = await newcomer.join()
  for (const outcome of await holder.join())
    if ('error' in outcome) throw new Error(`the holder: ${outcome.error}`)
  await newcomer.leave()
  await holder.leave()
  if (from === 'writing') scene.model(file).fill(0, PAGE, NEW)
  return { outcome: ended === 0 ? 'waits' : nameOf(answer), asleep: Object.keys(waiting).join(' ') }
}

function nameOf(outcome: Outcome | undefined): string {
  return outcome !== undefined && 'error' in outcome ? outcome.error : 'allowed'
}

async function hold(scene: Scene, holder: Actor, file: string, from: Holder): Promise<void> {
  const mode: OpenMode = from === 'writing' ? 'parallel' : from === 'mapped' ? 'direct' : from
  await open(scene, holder, file, mode)
  if (from === 'mapped') await holder.do(`map m f ${FILE_BYTES} shared rw`)
  if (from !== 'writing') return
  await scene.holdWrites(file, 2)
  await holder.start(`write f ${PAGE} 0 ${NEW}`)
  await scene.rest(holder)
}

async function open(scene: Scene, actor: Actor, file: string, mode: OpenMode): Promise<void> {
  await actor.do(await openWords(scene, file, mode))
}

async function openWords(scene: Scene, file: string, mode: OpenMode): Promise<string> {
  return `open f ${await scene.openFlags(mode)} ${scene.guestPath(file)}`
}

/** Reads, writes and stores, all of which reach the backing file without the server. */
async function passthrough(scene: Scene, mode: OpenMode): Promise<Observation> {
  const file = scene.makeFile(FILE_BYTES, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${await scene.openFlags(mode)} ${scene.guestPath(file)}`)
  const seen = await actor.do(`read f ${FILE_BYTES} 0`)
  await actor.do(`write f ${PAGE} 0 ${NEW}`)
  await actor.do(`write f ${PAGE} ${FILE_BYTES} ${NEW}`)
  if (mode === 'passthrough') {
    await actor.do(`open t ${O_RDWR | O_CREAT} /tmp/lab-splice`)
    await actor.do(`splice f t ${PAGE} 0 0`)
  }
  const size = await actor.do('size f')
  // The backing file is one of a virtio-fs share without a page cache, and cannot be mapped shared.
  await actor.do(`map m f ${FILE_BYTES} private r`)
  const mapped = await actor.do(`peek m ${FILE_BYTES} 0`)
  await actor.do('close f')
  scene.model(file).fill(0, PAGE, NEW)
  scene.model(file).fill(FILE_BYTES, PAGE, NEW)
  const { reads, directWrites } = await scene.counts(file)
  const right =
    seen === `${FILL}x${FILE_BYTES}` &&
    size === FILE_BYTES + PAGE &&
    mapped === `${NEW}x${PAGE} ${FILL}x${PAGE}`
  return {
    observed: `${right ? 'right' : `${seen}, ${size}, ${mapped}`}, by the server ${reads > 0 ? 'some' : 'no'} READs and ${directWrites} WRITEs`,
    evidence: `${reads} READs`,
  }
}

/** Opens of an inode that is open for passthrough, which the kernel has to refuse. */
async function refused(scene: Scene): Promise<Observation> {
  // The guest could not open it again to compare its bytes.
  const file = scene.makeAnyFile(FILE_BYTES)
  const [holder, other] = [scene.addActor(), scene.addActor()]
  await open(scene, holder, file, 'passthrough')
  const outcomes: string[] = []
  for (const mode of ['passthrough to another file', 'passthrough+keep'] as const)
    outcomes.push(told(await other.attempt(await openWords(scene, file, mode))))
  return { observed: outcomes.join(', '), evidence: '' }
}

export const transitionCases: readonly LabCase[] = [
  ...HOLDERS.map(
    (from): LabCase => ({
      name: caseNameOf(from),
      question: `another open, or a mapping, of an inode that is ${from === 'writing' ? 'written in parallel' : `open ${from}`}`,
      shares: isPassthrough(from) ? ['passthrough'] : ['modes', 'passthrough'],
      expected: (facts) => {
        if (facts.share === 'passthrough' && facts.passthrough !== true) return undefined
        if (from === 'mapped' && !facts.allowMmap) return undefined
        return transitionsText(
          newcomersOf(facts.share).map((to) => [to, transitionOf(facts, from, to)] as const),
        )
      },
      run: (scene) => meet(scene, from),
    }),
  ),
  {
    name: 'passthrough/data',
    question: 'read, written, spliced and mapped with FOPEN_PASSTHROUGH',
    shares: ['passthrough'],
    expected: ({ passthrough: has }) =>
      has === true ? 'right, by the server no READs and 0 WRITEs' : undefined,
    run: (scene) => passthrough(scene, 'passthrough'),
  },
  {
    name: 'passthrough/refused',
    question: 'open for passthrough, and opened again: to another backing file, with FOPEN_KEEP_CACHE',
    shares: ['passthrough'],
    expected: ({ passthrough: has }) => (has === true ? 'EIO, EIO' : undefined),
    run: refused,
  },
  {
    name: 'passthrough/direct',
    question:
      'with FOPEN_PASSTHROUGH and FOPEN_DIRECT_IO: the server reads and writes, the mapping is of the backing file',
    shares: ['passthrough'],
    expected: ({ passthrough: has }) =>
      has === true ? 'right, by the server some READs and 2 WRITEs' : undefined,
    run: (scene) => passthrough(scene, 'passthrough+direct'),
  },
]

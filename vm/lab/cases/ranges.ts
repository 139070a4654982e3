/** Ranges of a file that an operation fills or clears, beside what is cached there and what is dirty. */
import { constants } from 'node:fs'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { Actor } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { told } from '../judging.js'
import type { Scene } from '../scene.js'

const { O_APPEND, O_RDONLY, O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9
const DIRTY = 5
const ZERO_RANGE = 16

async function openFile(scene: Scene, pages: number, flags: number): Promise<{ file: string; actor: Actor }> {
  const file = scene.makeFile(pages * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${flags} ${scene.guestPath(file)}`)
  return { file, actor }
}

/** Copies into the middle of pages that are dirty. */
async function copyOntoDirty(scene: Scene): Promise<Observation> {
  const source = scene.makeFile(PAGE, NEW, '-source')
  const { file, actor } = await openFile(scene, 3, O_RDWR)
  await actor.do(`open s ${O_RDONLY} ${scene.guestPath(source)}`)
  await actor.do(`write f ${3 * PAGE} 0 ${DIRTY}`)
  await actor.do(`copy s f ${PAGE} 0 1000`)
  const seen = await actor.do(`read f ${3 * PAGE} 0`)
  await actor.do('close f')
  scene.model(file).fill(0, 3 * PAGE, DIRTY)
  scene.model(file).fill(1000, PAGE, NEW)
  const right = seen === `${DIRTY}x1000 ${NEW}x${PAGE} ${DIRTY}x${2 * PAGE - 1000}`
  return { observed: right ? 'right' : `${seen}`, evidence: '' }
}

/** The kernel copies between two sessions, which no server can. */
async function copyAcross(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 1, O_RDWR)
  const source = scene.makeFileBeside(PAGE, NEW)
  await actor.do(`open s ${O_RDONLY} ${source}`)
  const copied = told(await actor.attempt(`copy s f ${PAGE} 0 100`))
  scene.model(file).fill(100, PAGE, NEW)
  return { observed: copied, evidence: '' }
}

/** Clears a range that begins and ends within cached pages. Undefined where the host's file system cannot. */
async function zeroRange(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 4, O_RDWR)
  await actor.do(`read f ${4 * PAGE} 0`)
  const [at, sizeBytes] = [PAGE - 100, 2 * PAGE + 200]
  const outcome = await actor.attempt(`allocate f ${ZERO_RANGE} ${at} ${sizeBytes}`)
  if ('error' in outcome && outcome.error === 'EOPNOTSUPP')
    return { observed: undefined, evidence: outcome.error }
  scene.model(file).fill(at, sizeBytes, 0)
  const seen = await actor.do(`read f ${4 * PAGE} 0`)
  const right = seen === `${FILL}x${at} 0x${sizeBytes} ${FILL}x${4 * PAGE - at - sizeBytes}`
  return { observed: right ? told(outcome) : `${seen}`, evidence: '' }
}

/**
 * The device writes 1000 bytes of an append. The next append begins where those end: the guest does not ask for the size
 * in between. Servers that open the host's file with O_APPEND write elsewhere than the guest says, so no bytes are compared.
 */
async function shortExtension(scene: Scene): Promise<Observation> {
  const file = scene.makeAnyFile(PAGE)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_APPEND} ${scene.guestPath(file)}`)
  await scene.fault(file, 'WRITE', { shortBytes: 1000, limit: 1 })
  const written = await actor.do(`write f ${PAGE} 0 ${NEW}`)
  await actor.do(`write f 100 0 ${NEW}`)
  scene.judgeRequests((requests) => {
    const last = requests.filter(({ request }) => request.opcode === Opcode.WRITE).at(-1)?.request
    return last?.offsetBytes === PAGE + 1000
      ? []
      : [`appended at ${last?.offsetBytes} instead of ${PAGE + 1000}`]
  })
  return { observed: `${written}`, evidence: 'the offset of the next append' }
}

/** A mapping that could be read becomes one that can be written. */
async function protect(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 1, O_RDWR)
  await actor.do(`map m f ${PAGE} shared r`)
  await actor.do(`peek m ${PAGE} 0`)
  await actor.do('protect m')
  await actor.do(`poke m 100 0 ${NEW}`)
  const synced = told(await actor.attempt('msync m'))
  scene.model(file).fill(0, 100, NEW)
  return { observed: synced, evidence: '' }
}

export const rangeCases: readonly LabCase[] = [
  {
    name: 'data/copy-onto-dirty',
    question: 'copy_file_range into the middle of pages that are dirty',
    shares: ['auto', 'writeback'],
    expected: () => 'right',
    run: copyOntoDirty,
  },
  {
    name: 'data/copy-across',
    question: 'copy_file_range from one share to another: bytes',
    shares: ['direct', 'auto', 'writeback'],
    beside: 'always',
    expected: () => `${PAGE}`,
    run: copyAcross,
  },
  {
    name: 'data/zero-range',
    question: 'fallocate with FALLOC_FL_ZERO_RANGE of what is cached',
    shares: ['direct', 'auto', 'writeback'],
    expected: () => '0',
    run: zeroRange,
  },
  {
    name: 'data/short-extension',
    question: 'the device writes 1000 bytes of an append: where the next append begins',
    shares: ['direct', 'parallel', 'auto', 'always'],
    expected: () => '1000',
    run: shortExtension,
  },
  {
    name: 'mmap/protect',
    question: 'stores through a mapping that mprotect has made writable',
    shares: ['mmap', 'auto', 'always'],
    expected: ({ asksMmap, allowMmap }) => (asksMmap && !allowMmap ? undefined : '0'),
    run: protect,
  },
]

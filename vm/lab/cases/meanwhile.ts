/** What an operation leaves to those that come during it, or after one that has failed. */
import { constants, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { FATTR_SIZE, Opcode } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { atOnce } from '../case.js'
import { told } from '../judging.js'
import { forgetsMissingNames, writesInParallel } from '../kernel-rules.js'
import type { Scene } from '../scene.js'
import { BLOCK_BYTES, writeTogether } from '../writers.js'

const { O_DIRECTORY, O_RDONLY, O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9

/** The device has no space for an fallocate. The next operations find no lock held, and the old size. */
async function failedAllocate(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await scene.fault(file, 'FALLOCATE', { errno: 'ENOSPC' })
  const refused = told(await actor.attempt(`allocate f 0 0 ${3 * PAGE}`))
  await scene.holdNothing()
  const size = await actor.do('size f')
  await actor.do(`write f 100 0 ${NEW}`)
  scene.model(file).fill(0, 100, NEW)
  return { observed: `${refused}, size ${size}`, evidence: 'fallocate, fstat, write' }
}

/** The same for copy_file_range, which locks one file after the other. */
async function failedCopy(scene: Scene): Promise<Observation> {
  const source = scene.makeFile(PAGE, FILL, '-source')
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open s ${O_RDWR} ${scene.guestPath(source)}`)
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  for (const opcode of ['COPY_FILE_RANGE', 'COPY_FILE_RANGE_64'])
    await scene.fault(source, opcode, { errno: 'ENOSPC' })
  const refused = told(await actor.attempt(`copy s f ${PAGE} 0 ${PAGE}`))
  await scene.holdNothing()
  const size = await actor.do('size f')
  for (const [name, target] of [
    ['s', source],
    ['f', file],
  ] as const) {
    await actor.do(`write ${name} 100 0 ${NEW}`)
    scene.model(target).fill(0, 100, NEW)
  }
  return { observed: `${refused}, size ${size}`, evidence: 'copy_file_range, fstat, writes to both' }
}

/** A parallel write fails. After it the file can be opened without DIRECT_IO, and then written in parallel again. */
async function openAfterError(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(8 * BLOCK_BYTES, FILL)
  const [actor, reader] = [scene.addActor(), scene.addActor()]
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await scene.fault(file, 'WRITE', { errno: 'ENOSPC' })
  const refused = told(await actor.attempt(`write f ${BLOCK_BYTES} 0 ${NEW}`))
  scene.model(file).expectWrite(0, BLOCK_BYTES)
  await scene.holdNothing()
  await reader.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
  await reader.do('close f')
  const { highest } = await writeTogether(scene, actor, 'f', file)
  return { observed: `${refused} > ${highest}`, evidence: '' }
}

/**
 * Dirty pages are to be written back while a truncate is in flight. They wait for it, and are sent after it without
 * what it has cut off.
 */
async function duringTruncate(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(4 * PAGE, FILL)
  const [writer, other] = [scene.addActor(), scene.addActor()]
  for (const actor of [writer, other]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await writer.do(`write f ${4 * PAGE} 0 ${NEW}`)
  await scene.hold(file, 'SETATTR')
  await other.start(`truncate f ${PAGE + 100}`)
  await scene.rest(other)
  await writer.start('sync')
  await scene.rest(writer)
  await scene.holdNothing()
  const outcomes = [...(await other.join()), ...(await writer.join())].map(told)
  scene.model(file).fill(0, 4 * PAGE, NEW)
  scene.model(file).resize(PAGE + 100)
  scene.judgeRequests((requests) => {
    const truncate = requests.find(
      ({ request }) => request.opcode === Opcode.SETATTR && (request.detailFlags & FATTR_SIZE) !== 0,
    )?.request
    if (truncate === undefined) return ['no SETATTR of the size']
    const endMs = truncate.seenMs + truncate.latencyUs / 1000
    const writes = requests.filter(({ request }) => request.opcode === Opcode.WRITE)
    const early = writes.filter(({ request }) => request.seenMs < endMs).length
    return early === 0 ? [] : [`${early} WRITEs before the reply to SETATTR`]
  })
  return { observed: outcomes.join(' '), evidence: 'ftruncate, sync' }
}

const ENTRIES = 200
/** Room for the first entries of a listing, and for all that are left. */
const [FEW_BYTES, ALL_BYTES] = [1000, 32_000]

/**
 * A reader is in the middle of a directory when one of the names that it has read is removed, and another process lists
 * the directory. The reader gets the names that are left, each once.
 */
async function listMeanwhile(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(Array.from({ length: ENTRIES }, (_, n) => `entry-${n}`))
  await scene.guest.output(`ls ${guest}`)
  const actor = scene.addActor()
  await actor.do(`open d ${O_DIRECTORY} ${guest}`)
  const [first, name] = await entries(FEW_BYTES)
  const left = await scene.words(`rm ${guest}/${name}; ls ${guest} | wc -l`)
  let rest = 0
  for (let count = -1; count !== 0; rest += count) [count] = await entries(ALL_BYTES)
  return { observed: `${left} left, ${first + rest} read`, evidence: `${first} before ${name} was removed` }

  async function entries(bytes: number): Promise<[count: number, name: string]> {
    const [count, name] = `${await actor.do(`entries d ${bytes}`)}`.split(' ') as [string, string]
    return [Number(count), name]
  }
}

/** The host removes names that the guest remembers for a day. When the guest is told so, it forgets them. */
async function removedOnHost(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(['a', 'b'])
  await scene.guest.output(`cd ${guest}; stat a b`)
  for (const name of ['a', 'b']) rmSync(join(host, name))
  const is = (name: string): string => `test -e ${name} && echo there || echo absent`
  const seen = await scene.words(
    `cd ${guest}; ${is('a')}; rm a 2>/dev/null || ${is('a')}; mv b c 2>/dev/null || ${is('b')}`,
  )
  return { observed: seen, evidence: 'test, rm, test, mv, test' }
}

/** Of statx: what the guest knows. */
const [DONT_SYNC, NLINK] = [0x4000, 4]

/** The directory that a directory is removed from changes. The removed one is still open. */
async function removedDirectory(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory([])
  mkdirSync(join(host, 'd'))
  const [list, look] = [`ls ${guest} | wc -l`, `stat -c %y ${guest}`]
  const actor = scene.addActor()
  await actor.do(`open d ${O_DIRECTORY} ${guest}/d`)
  // A listing makes the guest ask for attributes again, so it comes before the first look and after the second.
  const seen = (await scene.guest.output(`${list}; ${look}; sleep 0.02; rmdir ${guest}/d; ${look}; ${list}`))
    .trim()
    .split('\n')
  const links = `${await actor.do(`statx d ${DONT_SYNC} ${NLINK}`)}`
  return {
    observed: `${seen[0]} > ${seen[3]}, ${seen[1] === seen[2] ? 'same time' : 'later'}, links ${links.split(' ')[0]}`,
    evidence: seen.join(' '),
  }
}

export const meanwhileCases: readonly LabCase[] = [
  {
    name: 'errors/allocate',
    question: 'fallocate beyond the end, for which the device has no space, and a write after it',
    shares: ['direct', 'auto', 'writeback'],
    expected: () => `ENOSPC, size ${PAGE}`,
    run: failedAllocate,
  },
  {
    name: 'errors/copy',
    question: 'copy_file_range beyond the end, for which the device has no space, and writes after it',
    shares: ['direct', 'auto', 'writeback'],
    expected: () => `ENOSPC, size ${PAGE}`,
    run: failedCopy,
  },
  {
    name: 'io-mode/cached-open-after-error',
    question: 'a parallel write that fails > an open without DIRECT_IO, closed > writes in flight, of 8',
    shares: ['parallel', 'parallel+mmap'],
    expected: (facts) => `ENOSPC > ${atOnce(writesInParallel(facts))}`,
    run: openAfterError,
  },
  {
    name: 'write-back/during-truncate',
    question: 'sync while a truncate is in flight, which cuts dirty pages off',
    shares: ['writeback'],
    expected: () => '0 0',
    run: duringTruncate,
  },
  {
    name: 'names/list-meanwhile',
    question: `a directory of ${ENTRIES} is listed and changed while another process is in the middle of it`,
    shares: ['metadata', 'always'],
    expected: () => `${ENTRIES - 1} left, ${ENTRIES + 2} read`,
    run: listMeanwhile,
  },
  {
    name: 'names/removed-on-host',
    question: 'a name that the host has removed: remembered > after rm > another one, after mv',
    shares: ['always'],
    expected: (facts) => {
      const forgets = forgetsMissingNames(facts)
      return forgets === undefined ? undefined : forgets ? 'there absent absent' : 'there there there'
    },
    run: removedOnHost,
  },
  {
    name: 'names/removed-directory',
    question:
      'entries of a directory, and its time, before and after a directory in it is removed; what the guest knows of its links',
    shares: ['direct', 'always'],
    expected: () => '1 > 0, later, links 0',
    run: removedDirectory,
  },
]

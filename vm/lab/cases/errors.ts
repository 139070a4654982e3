/** The guest's reaction to requests that fail or end early, and its requests afterwards. */
import { chmodSync, constants, statfsSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import {
  FATTR_KILL_SUIDGID,
  FATTR_MTIME,
  FATTR_SIZE,
  FATTR_UID,
  FUSE_WRITE_KILL_SUIDGID,
  Opcode,
} from 'virtio-fs-ts/protocol'
import type { TracedRequest } from '../../../src/inspect/trace-format.js'
import type { Actor } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { expectRequest, told } from '../judging.js'
import type { ShareName } from '../option-sets.js'
import type { Scene } from '../scene.js'

const { O_DIRECT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants
const PAGE = 4096
const FILL = 7
const USER = 1000
const KEEP_SIZE = 1
const CACHED: readonly ShareName[] = ['auto', 'always', 'writeback']

async function openFile(scene: Scene, pages: number, flags: number): Promise<{ file: string; actor: Actor }> {
  const file = scene.makeFile(pages * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${flags} ${scene.guestPath(file)}`)
  return { file, actor }
}

const isSetattr =
  (flag: number) =>
  ({ opcode, detailFlags }: TracedRequest): boolean =>
    opcode === Opcode.SETATTR && (detailFlags & flag) !== 0

/** Every READ fails, then none does. */
async function failedRead(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 1, O_RDONLY)
  await scene.fault(file, 'READ', { errno: 'EIO' })
  const refused = await actor.attempt(`read f ${PAGE} 0`)
  await scene.holdNothing()
  return { observed: `${told(refused)} > ${told(await actor.attempt(`read f ${PAGE} 0`))}`, evidence: '' }
}

/** The host cuts a file short whose size the guest remembers. The reply to READ says so. */
async function shrunkFile(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 2, O_RDONLY)
  const before = await actor.do('size f')
  truncateSync(scene.hostPath(file), 1000)
  scene.model(file).resize(1000)
  const seen = await actor.do(`read f ${2 * PAGE} 0`)
  return { observed: `${seen}, size ${before} > ${await actor.do('size f')}`, evidence: '' }
}

/** The device has no space for a write with O_DIRECT that extends the file: the guest cuts off what may have come. */
async function failedExtension(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 1, O_RDWR | O_DIRECT)
  await scene.fault(file, 'WRITE', { errno: 'ENOSPC' })
  const refused = await actor.attempt(`write f ${PAGE} ${PAGE} 9`)
  await scene.holdNothing()
  expectRequest(scene, 'SETATTR of the size', isSetattr(FATTR_SIZE))
  return { observed: told(refused), evidence: '' }
}

/** A page that is written back at close is refused by the device. */
async function failedClose(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 1, O_RDWR)
  await actor.do(`write f ${PAGE} 0 9`)
  await scene.fault(file, 'WRITE', { errno: 'ENOSPC' })
  const closed = await actor.attempt('close f')
  await scene.holdNothing()
  // The guest keeps a page that it could not write.
  scene.model(file).comparesGuest = false
  return { observed: told(closed), evidence: '' }
}

/** With write-back the guest keeps the times of a file, and has to tell them. */
async function tellTimes(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 1, O_RDWR)
  await actor.do(`write f ${PAGE} 0 9`)
  scene.model(file).fill(0, PAGE, 9)
  await actor.do('fsync f')
  await actor.do('close f')
  await scene.guest.output('sync')
  expectRequest(scene, 'SETATTR of the time', isSetattr(FATTR_MTIME))
  return { observed: 'told', evidence: `mtime ${statSync(scene.hostPath(file)).mtimeMs}` }
}

/** fallocate reserves space beyond the end. */
async function keepSize(scene: Scene): Promise<Observation> {
  const { actor } = await openFile(scene, 1, O_RDWR)
  await actor.do(`allocate f ${KEEP_SIZE} 0 ${3 * PAGE}`)
  return {
    observed: `size ${await actor.do('size f')}, ${await actor.do(`read f ${3 * PAGE} 0`)}`,
    evidence: '',
  }
}

/** copy_file_range to the end of a file. */
async function copyBeyond(scene: Scene): Promise<Observation> {
  const source = scene.makeFile(PAGE, 9, '-source')
  const { file, actor } = await openFile(scene, 1, O_RDWR)
  await actor.do(`open s ${O_RDONLY} ${scene.guestPath(source)}`)
  await actor.do(`copy s f ${PAGE} 0 ${PAGE}`)
  scene.model(file).fill(PAGE, PAGE, 9)
  return {
    observed: `size ${await actor.do('size f')}, ${await actor.do(`read f ${3 * PAGE} 0`)}`,
    evidence: '',
  }
}

/** Writes every other page of a file, and then has all of them written back together. */
async function scattered(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 16, O_RDWR)
  for (let page = 0; page < 16; page += 2) {
    await actor.do(`write f ${PAGE} ${page * PAGE} ${page + 10}`)
    scene.model(file).fill(page * PAGE, PAGE, page + 10)
  }
  await actor.do('fsync f')
  const { cachedWrites } = await scene.counts(file)
  return { observed: 'in place', evidence: `${cachedWrites} WRITEs by the page cache` }
}

/** A mapping is the target of a direct read. Its page is written back while the READ is in flight, before the bytes come. */
async function readIntoMapping(scene: Scene): Promise<Observation> {
  const source = scene.makeFile(PAGE, 9, '-source')
  const { file, actor } = await openFile(scene, 1, O_RDWR)
  await actor.do(`open s ${O_RDONLY} ${scene.guestPath(source)}`)
  await actor.do(`map m f ${PAGE} shared rw`)
  await actor.do(`poke m ${PAGE} 0 8`)
  await scene.hold(source, 'READ', 2)
  await actor.start(`pull s m ${PAGE}`)
  await scene.rest(actor)
  await scene.guest.output('sync')
  const between = scene.readFile(file)[0]
  await scene.holdNothing()
  const [outcome] = await actor.join()
  await actor.do('msync m')
  scene.model(file).fill(0, PAGE, 9)
  return { observed: `${told(outcome!)} bytes`, evidence: `on the host before the read ended: ${between}` }
}

/** A name is renamed over another, whose file is still open. */
async function renamedOver(scene: Scene): Promise<Observation> {
  const [from, to] = [scene.file('-new'), scene.makeFile(10, FILL)].map((file) => scene.guestPath(file))
  writeFileSync(scene.hostPath(scene.file('-new')), Buffer.alloc(10, FILL))
  const links = 'stat -L -c %h /proc/self/fd/3'
  const seen = await scene.guest.output(
    `stat ${to} >/dev/null; exec 3<${to}; ${links}; mv ${from} ${to}; ${links}`,
  )
  return { observed: seen.trim().split('\n').join(' > '), evidence: 'links of the open file' }
}

/** Asks for the size while an asynchronous write beyond the end is in flight, and after it. */
async function sizeDuringAio(scene: Scene): Promise<Observation> {
  const { file, actor } = await openFile(scene, 1, O_RDWR | O_DIRECT)
  await scene.holdWrites(file, 2)
  await actor.start(`aio f ${PAGE} ${PAGE} 9`)
  await scene.rest(actor)
  const during = await actor.do('size f')
  await scene.holdNothing()
  await actor.join()
  scene.model(file).fill(PAGE, PAGE, 9)
  return { observed: `${during} > ${await actor.do('size f')}`, evidence: '' }
}

/** A user writes to a cached setuid file, cuts another one short, and opens a third with O_TRUNC. Root gives a fourth away. */
async function killSuid(scene: Scene): Promise<Observation> {
  const files = ['-written', '-truncated', '-emptied', '-given'].map((suffix) =>
    scene.makeFile(PAGE, FILL, suffix),
  )
  const actor = scene.addActor()
  await actor.do(`user ${USER}`)
  for (const [n, file] of files.entries()) {
    chmodSync(scene.hostPath(file), 0o4777)
    if (n < 2) await actor.do(`open f${n} ${O_WRONLY} ${scene.guestPath(file)}`)
  }
  await actor.do(`open f2 ${O_WRONLY | O_TRUNC} ${scene.guestPath(files[2]!)}`)
  scene.model(files[2]!).resize(0)
  await scene.guest.output(`chown ${USER} ${scene.guestPath(files[3]!)}`)
  await actor.do('write f0 100 0 9')
  await actor.do('truncate f1 100')
  scene.model(files[0]!).fill(0, 100, 9)
  scene.model(files[1]!).resize(100)
  for (const n of [0, 1, 2]) await actor.do(`close f${n}`)
  expectRequest(
    scene,
    'WRITE with KILL_SUIDGID',
    ({ opcode, detailFlags }) => opcode === Opcode.WRITE && (detailFlags & FUSE_WRITE_KILL_SUIDGID) !== 0,
  )
  expectRequest(scene, 'SETATTR of the size with KILL_SUIDGID', (request) =>
    [FATTR_SIZE, FATTR_KILL_SUIDGID].every((flag) => isSetattr(flag)(request)),
  )
  expectRequest(scene, 'SETATTR of the owner with KILL_SUIDGID', (request) =>
    [FATTR_UID, FATTR_KILL_SUIDGID].every((flag) => isSetattr(flag)(request)),
  )
  const modes = files.map((file) => (statSync(scene.hostPath(file)).mode & 0o7777).toString(8))
  return { observed: modes.join(' '), evidence: 'modes on the host' }
}

/** The file system's size, as both sides see it. */
async function fileSystemSize(scene: Scene): Promise<Observation> {
  const path = scene.guestPath('')
  const [, seen, longest] = /^(.*) (\d+)$/.exec(
    (await scene.guest.output(`stat -f -c '%b %c %s %l' ${path}`)).trim(),
  )!
  const { blocks, files, bsize } = statfsSync(scene.hostPath(''))
  const host = `${blocks} ${files} ${bsize}`
  const told = seen === host ? 'the same' : `${seen}, on the host ${host}`
  return { observed: longest === '0' ? `${told}, no names` : told, evidence: `${seen} ${longest}` }
}

export const errorCases: readonly LabCase[] = [
  {
    name: 'errors/read',
    question: 'a read of a page that the device cannot read > once it can',
    shares: ['direct', ...CACHED],
    expected: () => `EIO > ${FILL}x${PAGE}`,
    run: failedRead,
  },
  {
    name: 'errors/shrunk',
    question: 'cut short on the host while the guest remembers its size: read, and fstat before > after',
    shares: ['always'],
    expected: () => `${FILL}x1000, size ${2 * PAGE} > 1000`,
    run: shrunkFile,
  },
  {
    name: 'errors/extension',
    question: 'a write with O_DIRECT beyond the end, for which the device has no space',
    shares: ['auto'],
    expected: () => 'ENOSPC',
    run: failedExtension,
  },
  {
    name: 'errors/close',
    question: 'close of a file, when the device has no space for what it writes back',
    shares: ['writeback'],
    expected: () => 'ENOSPC',
    run: failedClose,
  },
  {
    name: 'data/keep-size',
    question: 'fallocate with FALLOC_FL_KEEP_SIZE beyond the end: size and bytes',
    shares: ['direct', ...CACHED],
    expected: () => `size ${PAGE}, ${FILL}x${PAGE}`,
    run: keepSize,
  },
  {
    name: 'data/copy-beyond',
    question: 'copy_file_range that extends a file: size and bytes',
    shares: ['direct', ...CACHED],
    expected: () => `size ${2 * PAGE}, ${FILL}x${PAGE} 9x${PAGE}`,
    run: copyBeyond,
  },
  {
    name: 'data/size-during-aio',
    question: 'fstat during an io_submit with O_DIRECT beyond the end > after it',
    shares: ['metadata', 'always'],
    expected: () => `${PAGE} > ${2 * PAGE}`,
    run: sizeDuringAio,
  },
  {
    name: 'data/scattered',
    question: 'every other page of a file, written back together',
    shares: ['writeback'],
    expected: () => 'in place',
    run: scattered,
  },
  {
    name: 'data/times',
    question: 'the time of a write, which write-back keeps in the guest',
    shares: ['writeback'],
    expected: () => 'told',
    run: tellTimes,
  },
  {
    name: 'requests/kill-suidgid-cached',
    question:
      'setuid files that a user writes to, truncates, opens with O_TRUNC; that root gives away: their modes',
    shares: ['auto'],
    expected: () => '777 777 777 777',
    run: killSuid,
  },
  {
    name: 'mmap/read-into-mapping',
    question: 'a direct read into a mapping, whose page is written back meanwhile',
    shares: ['mmap'],
    expected: ({ allowMmap }) => (allowMmap ? `${PAGE} bytes` : undefined),
    run: readIntoMapping,
  },
  {
    name: 'names/renamed-over',
    question: 'an open file whose name another one takes: its links before > after',
    shares: ['direct', 'always'],
    expected: () => '1 > 0',
    run: renamedOver,
  },
  {
    name: 'names/statfs',
    question: "the file system's blocks, inodes and longest name",
    shares: ['direct', 'always'],
    expected: () => 'the same',
    run: fileSystemSize,
  },
]

/** The requests of an operation: their order and their flags. */
import { chmodSync, constants, mkdirSync, statSync } from 'node:fs'
import {
  FATTR_ATIME,
  FATTR_ATIME_NOW,
  FATTR_FH,
  FATTR_LOCKOWNER,
  FATTR_MTIME,
  FATTR_MTIME_NOW,
  FATTR_SIZE,
  FUSE_WRITE_KILL_SUIDGID,
  Opcode,
  opcodeName,
} from 'virtio-fs-ts/protocol'
import type { TracedRequest } from '../../../src/inspect/trace-format.js'
import type { LabCase, Observation } from '../case.js'
import { expectOpcodes, expectRequests } from '../judging.js'
import { largestBufferedReadBytes } from '../kernel-rules.js'
import type { ShareName } from '../option-sets.js'
import type { Scene } from '../scene.js'

const { O_APPEND, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL, O_RDWR, O_WRONLY } = constants
const PAGE = 4096
const USER = 1000
const POLICIES: readonly ShareName[] = ['direct', 'auto', 'always', 'writeback']

const OPEN_TO_RELEASE = [Opcode.OPEN, Opcode.WRITE, Opcode.FSYNC, Opcode.FLUSH, Opcode.RELEASE]

/** Opens a file, writes to it, calls fsync and closes it. */
async function close(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE)
  const actor = scene.addActor()
  await actor.do(`open f ${O_WRONLY} ${scene.guestPath(file)}`)
  await actor.do(`write f ${PAGE} 0 1`)
  await actor.do('fsync f')
  await actor.do(`write f ${PAGE} 0 2`)
  await actor.do('close f')
  scene.model(file).fill(0, PAGE, 2)
  expectOpcodes(scene, OPEN_TO_RELEASE, 'OPEN WRITE FSYNC WRITE FLUSH RELEASE')
  return { observed: 'in order', evidence: 'open, write, fsync, write, close' }
}

/** Opens one inode twice: each open has its own handle, and each handle is released. */
async function handles(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(2 * PAGE)
  const actor = scene.addActor()
  for (const name of ['f', 'g']) await actor.do(`open ${name} ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`write f ${PAGE} 0 1`)
  await actor.do(`write g ${PAGE} ${PAGE} 2`)
  await actor.do('close f')
  await actor.do(`read g ${PAGE} 0`)
  await actor.do('close g')
  scene.model(file).fill(0, PAGE, 1)
  scene.model(file).fill(PAGE, PAGE, 2)
  scene.judgeRequests((requests) => {
    const of = (opcode: number): number[] =>
      requests.filter(({ request }) => request.opcode === opcode).map(({ request }) => request.handle)
    const [writes, releases] = [of(Opcode.WRITE), of(Opcode.RELEASE)]
    const areTwo = new Set(writes).size === 2 && new Set(releases).size === 2 && releases.length === 2
    return areTwo && writes.join() === releases.join()
      ? []
      : [`WRITEs with handles ${writes.join(' ')}, RELEASEs with ${releases.join(' ')}`]
  })
  return { observed: 'one each', evidence: 'two opens, a write by each, two closes' }
}

/** Root writes to a setuid file. So does a user who may not keep the bit. */
async function killSuid(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(2 * PAGE)
  chmodSync(scene.hostPath(file), 0o4777)
  const [root, user] = [scene.addActor(), scene.addActor()]
  await user.do(`user ${USER}`)
  for (const actor of [root, user]) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await root.do(`write f ${PAGE} 0 1`)
  const kept = (statSync(scene.hostPath(file)).mode & 0o4000) !== 0
  await user.do(`write f ${PAGE} ${PAGE} 2`)
  scene.model(file).fill(0, PAGE, 1)
  scene.model(file).fill(PAGE, PAGE, 2)
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.WRITE,
    ({ detailFlags }) => ((detailFlags & FUSE_WRITE_KILL_SUIDGID) === 0 ? 'plain' : 'KILL_SUIDGID'),
    'plain KILL_SUIDGID',
  )
  return { observed: kept ? "root's keeps it" : "root's drops it", evidence: '' }
}

/** The guest's flags at OPEN and WRITE. */
async function flags(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE)
  const actor = scene.addActor()
  const interesting = O_APPEND | O_CREAT | O_EXCL | O_DIRECT | O_DSYNC | O_WRONLY | O_RDWR
  await actor.do(`open f ${O_RDWR | O_DSYNC} ${scene.guestPath(file)}`)
  await actor.do(`write f ${PAGE} 0 1`)
  await actor.do(`open g ${O_WRONLY | O_APPEND} ${scene.guestPath(file)}`)
  await actor.do('write g 100 0 2')
  // The file is there, so this is an OPEN.
  await actor.do(`open h ${O_RDWR | O_CREAT} ${scene.guestPath(file)}`)
  scene.model(file).fill(0, PAGE, 1)
  scene.model(file).fill(PAGE, 100, 2)
  const expected = [O_RDWR | O_DSYNC, O_RDWR | O_DSYNC, O_WRONLY | O_APPEND, O_WRONLY | O_APPEND, O_RDWR]
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.OPEN || opcode === Opcode.WRITE,
    ({ opcode, flags: seen }) => `${opcodeName(opcode)}:0x${(seen & interesting).toString(16)}`,
    expected.map((value, n) => `${n % 2 === 0 ? 'OPEN' : 'WRITE'}:0x${value.toString(16)}`).join(' '),
  )
  return { observed: 'as given', evidence: 'O_RDWR|O_DSYNC, O_WRONLY|O_APPEND, O_RDWR|O_CREAT' }
}

/** pwritev2 with RWF_DSYNC asks for what O_DSYNC asks for, for one write alone. */
async function dsync(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`dsync f ${PAGE} 0 1`)
  await actor.do(`write f ${PAGE} 0 2`)
  scene.model(file).fill(0, PAGE, 2)
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.WRITE || opcode === Opcode.FSYNC,
    ({ opcode, flags: seen }) =>
      opcode === Opcode.FSYNC ? 'FSYNC' : (seen & O_DSYNC) === 0 ? 'plain' : 'O_DSYNC',
    scene.share === 'direct' ? 'O_DSYNC plain' : 'O_DSYNC FSYNC plain',
  )
  return { observed: 'for one', evidence: 'pwritev2 with RWF_DSYNC, pwrite' }
}

/** fdatasync and fsync of a file, and fsync of its directory. */
async function synchronise(scene: Scene): Promise<Observation> {
  mkdirSync(scene.hostPath(scene.file()))
  const directory = scene.guestPath(scene.file())
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_CREAT} ${scene.guestPath(scene.file('-new'))}`)
  await actor.do(`open d ${O_DIRECTORY} ${directory}`)
  for (const operation of ['fdatasync f', 'fsync f', 'fsync d']) await actor.do(operation)
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.FSYNC || opcode === Opcode.FSYNCDIR,
    ({ opcode, detailFlags }) => `${opcodeName(opcode)}:${detailFlags}`,
    'FSYNC:1 FSYNC:0 FSYNCDIR:0',
  )
  return { observed: 'as asked', evidence: 'fdatasync, fsync, fsync of the directory' }
}

/**
 * ftruncate works by the handle: a process that can write to an open file may truncate it, whatever its mode is now.
 */
async function truncate(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(2 * PAGE, 1)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`truncate f ${PAGE}`)
  scene.model(file).resize(PAGE)
  expectRequests(
    scene,
    ({ opcode, detailFlags }) => opcode === Opcode.SETATTR && (detailFlags & FATTR_SIZE) !== 0,
    ({ detailFlags }) =>
      `${(detailFlags & FATTR_FH) === 0 ? 'no handle' : 'handle'}, ${(detailFlags & FATTR_LOCKOWNER) === 0 ? 'no owner' : 'owner'}`,
    'handle, owner',
  )
  return { observed: 'by the handle', evidence: 'ftruncate' }
}

/** touch leaves the time to the device. */
async function touch(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE)
  await scene.guest.output(`touch ${scene.guestPath(file)}`)
  const now = FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.SETATTR,
    ({ detailFlags }) => ((detailFlags & now) === now ? 'now' : `0x${detailFlags.toString(16)}`),
    'now',
  )
  return { observed: "the device's", evidence: '' }
}

/** Reads a file in page-sized pieces, and counts the READs. */
async function reads(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(16 * PAGE, 3)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  for (let n = 0; n < 16; n++) await actor.do(`read f ${PAGE} ${n * PAGE}`)
  const { reads: count } = await scene.counts(file)
  return { observed: count === 16 ? 'one by one' : 'ahead', evidence: `16 reads of a page: ${count} READs` }
}

/** Finds the largest READ of a long buffered read. */
async function largestRead(scene: Scene): Promise<Observation> {
  const sizeBytes = 8 << 20
  const file = scene.makeFile(sizeBytes, 3)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`read f ${sizeBytes} 0`)
  await actor.do('close f')
  const kib = (largestBufferedReadBytes(scene.facts) ?? 0) >> 10
  scene.judgeRequests((requests) => {
    const sizes = requests
      .filter(({ request }) => request.opcode === Opcode.READ)
      .map(({ request }) => request.sizeBytes >> 10)
    const largest = Math.max(...sizes)
    return largest === kib ? [] : [`${largest} KiB`]
  })
  return { observed: `${kib} KiB`, evidence: `one read of ${sizeBytes} bytes` }
}

/** Calls stat twice, and counts the guest's requests. */
async function asksAgain(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE)
  await scene.guest.output(`stat ${scene.guestPath(file)} && stat ${scene.guestPath(file)}`)
  const isLookup = ({ opcode }: TracedRequest): boolean => opcode === Opcode.LOOKUP
  let lookups = 0
  scene.judgeRequests((requests) => {
    lookups = requests.filter(({ request }) => isLookup(request)).length
    const asks = lookups > 1
    return asks === (scene.share === 'direct') ? [] : [`${lookups} LOOKUPs`]
  })
  return { observed: scene.share === 'direct' ? 'asks again' : 'remembers', evidence: 'stat, stat' }
}

/** Inodes that the guest drops from its cache must be forgotten. */
async function forget(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE)
  await scene.guest.output(`stat ${scene.guestPath(file)}`)
  // A delay of zero counts the requests it applies to.
  await scene.fault(file, 'FORGET', { delay: { fixedMs: 0 } })
  const forgets = async (): Promise<number> => {
    const [fault] = await scene.ask<{ applied: number }[]>('fault-list')
    return fault!.applied
  }
  await scene.guest.output('sync; echo 3 >/proc/sys/vm/drop_caches')
  // FORGET has no reply to wait for.
  for (let n = 0; n < FORGET_LOOKS && (await forgets()) === 0; n++) await scene.guest.output('sleep 0.05')
  const count = await forgets()
  return { observed: count > 0 ? 'forgotten' : 'kept', evidence: `${count} FORGETs` }
}

const FORGET_LOOKS = 40

export const requestCases: readonly LabCase[] = [
  {
    name: 'requests/close',
    question:
      'OPEN WRITE FSYNC WRITE FLUSH RELEASE, of a file that is written, synchronised, written and closed',
    shares: POLICIES,
    expected: () => 'in order',
    run: close,
  },
  {
    name: 'requests/handles',
    question: 'handles of two opens of one file',
    shares: ['direct', 'auto'],
    expected: () => 'one each',
    run: handles,
  },
  {
    name: 'requests/kill-suidgid',
    question: 'a direct write to a setuid file: by root, and by a user with FUSE_WRITE_KILL_SUIDGID',
    shares: ['direct', 'parallel'],
    expected: () => "root's keeps it",
    run: killSuid,
  },
  {
    name: 'requests/flags',
    question: "the guest's O_DSYNC and O_APPEND in OPEN and WRITE",
    shares: ['direct', 'auto'],
    expected: () => 'as given',
    run: flags,
  },
  {
    name: 'requests/rwf-dsync',
    question:
      "pwritev2 with RWF_DSYNC, then pwrite: O_DSYNC in the WRITE's flags, and FSYNC of a cached file",
    shares: ['direct', 'auto'],
    expected: () => 'for one',
    run: dsync,
  },
  {
    name: 'requests/fsync',
    question: 'FSYNC of fdatasync and of fsync, FSYNCDIR',
    shares: ['direct', 'writeback'],
    expected: () => 'as asked',
    run: synchronise,
  },
  {
    name: 'requests/ftruncate',
    question: 'SETATTR of ftruncate',
    shares: ['direct', 'auto'],
    expected: () => 'by the handle',
    run: truncate,
  },
  {
    name: 'requests/touch',
    question: 'whose time touch sets',
    shares: ['direct', 'always'],
    expected: () => "the device's",
    run: touch,
  },
  {
    name: 'requests/reads',
    question: '16 reads of a page each',
    shares: ['direct', 'auto'],
    expected: ({ share }) => (share === 'direct' ? 'one by one' : 'ahead'),
    run: reads,
  },
  {
    name: 'requests/largest-read',
    question: 'the largest READ of a buffered read of 8 MiB',
    shares: ['auto'],
    expected: (facts) => {
      const largestBytes = largestBufferedReadBytes(facts)
      return largestBytes === undefined ? undefined : `${largestBytes >> 10} KiB`
    },
    run: largestRead,
  },
  {
    name: 'requests/lookup',
    question: 'a file that is looked at twice',
    shares: ['direct', 'always'],
    expected: ({ share }) => (share === 'direct' ? 'asks again' : 'remembers'),
    run: asksAgain,
  },
  {
    name: 'requests/forget',
    question: 'a file that was looked at, after the guest dropped its caches',
    needs: 'virtio',
    shares: ['always'],
    expected: () => 'forgotten',
    run: forget,
  },
]

/** Times and attributes after an operation: which of them the guest has to ask for again, and which it may keep. */
import { appendFileSync, constants, statSync, symlinkSync, truncateSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { Actor } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { expectOpcodes } from '../judging.js'
import type { Scene } from '../scene.js'
import { attributesExpire } from './cache.js'

const { O_CREAT, O_DIRECT, O_RDWR, O_TRUNC } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9
const [KEEP_SIZE, PUNCH_HOLE] = [1, 2]
/** 2001-09-09. */
const LONG_AGO = 1_000_000_000

/** Looks at the time of an old file before a change and after it, on both sides. */
async function timeOf(
  scene: Scene,
  change: (actor: Actor, file: string) => Promise<void>,
): Promise<Observation> {
  const file = scene.makeFile(2 * PAGE, FILL)
  utimesSync(scene.hostPath(file), LONG_AGO, LONG_AGO)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  // A page that is read later makes the guest ask for all times.
  await actor.do(`read f ${2 * PAGE} 0`)
  const before = await actor.do('mtime f')
  await change(actor, file)
  const after = Number(await actor.do('mtime f'))
  await actor.do('close f')
  const onHost = statSync(scene.hostPath(file)).mtimeMs / 1000
  const name = (seconds: number): string => (seconds > LONG_AGO ? 'later' : `${seconds}`)
  return { observed: `${before} > ${name(after)}, host ${name(onHost)}`, evidence: '' }
}

const store = (scene: Scene): Promise<Observation> =>
  timeOf(scene, async (actor, file) => {
    await actor.do(`map m f ${PAGE} shared rw`)
    await actor.do(`poke m 100 0 ${NEW}`)
    await actor.do('msync m')
    scene.model(file).fill(0, 100, NEW)
  })

const copy = (scene: Scene): Promise<Observation> =>
  timeOf(scene, async (actor, file) => {
    const source = scene.makeFile(PAGE, NEW, '-source')
    await actor.do(`open s ${O_RDWR} ${scene.guestPath(source)}`)
    await actor.do(`copy s f ${PAGE} 0 0`)
    scene.model(file).fill(0, PAGE, NEW)
  })

const punch = (scene: Scene): Promise<Observation> =>
  timeOf(scene, async (actor, file) => {
    await actor.do(`allocate f ${KEEP_SIZE | PUNCH_HOLE} 0 ${PAGE}`)
    scene.model(file).fill(0, PAGE, 0)
  })

/** By its path: for ftruncate the VFS asks for the times, too. */
const truncate = (scene: Scene): Promise<Observation> =>
  timeOf(scene, async (actor, file) => {
    await actor.do(`cut ${PAGE} ${scene.guestPath(file)}`)
    scene.model(file).resize(PAGE)
  })

const empty = (scene: Scene): Promise<Observation> =>
  timeOf(scene, async (actor, file) => {
    await actor.do(`open t ${O_RDWR | O_TRUNC} ${scene.guestPath(file)}`)
    scene.model(file).resize(0)
  })

/** A READ may change the time of access, so the guest asks for it after one. Before, it knows the attributes. */
async function access(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do('mtime f')
  await actor.do(`read f ${PAGE} 0`)
  await actor.do('mtime f')
  await actor.do(`open d ${O_RDWR | O_DIRECT} ${scene.guestPath(file)}`)
  await actor.do(`read d ${PAGE} 0`)
  await actor.do('mtime f')
  const link = scene.file('-link')
  symlinkSync('nowhere', scene.hostPath(link))
  const path = scene.guestPath(link)
  await scene.guest.output(`stat ${path}; readlink ${path}; stat ${path}; readlink ${path}`)
  expectOpcodes(
    scene,
    [Opcode.READ, Opcode.READLINK, Opcode.GETATTR],
    'READ GETATTR READ GETATTR READLINK GETATTR',
  )
  return {
    observed: 'asked for',
    evidence: 'fstat, read, fstat; read with O_DIRECT, fstat; stat, readlink, stat, readlink',
  }
}

/** The device alone knows how many blocks a file has that the guest has written back. */
async function blocks(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(0)
  const actor = scene.addActor()
  for (const name of ['f', 'g']) await actor.do(`open ${name} ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`write f ${4 * PAGE} 0 ${NEW}`)
  scene.model(file).fill(0, 4 * PAGE, NEW)
  await actor.do('close f')
  await actor.do('size g')
  scene.judgeRequests((requests) => {
    const opcodes = requests.map(({ request }) => request.opcode)
    const flush = opcodes.indexOf(Opcode.FLUSH)
    return opcodes.indexOf(Opcode.GETATTR, flush) > flush ? [] : ['no GETATTR after FLUSH']
  })
  return { observed: 'asked for', evidence: 'write, close, fstat of another open' }
}

/** The reply to SETATTR brings attributes, and says how long they are valid. */
async function afterChange(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`settimes f ${LONG_AGO}`)
  appendFileSync(scene.hostPath(file), Buffer.alloc(PAGE, FILL))
  scene.model(file).fill(PAGE, PAGE, FILL)
  scene.model(file).comparesGuest = false
  await attributesExpire(scene)
  const size = await actor.do('size f')
  return { observed: size === 2 * PAGE ? 'new size' : 'old size', evidence: `${size}` }
}

/** So does READDIRPLUS: here the name is valid for a day, and the attributes are not valid at all. */
async function afterListing(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(['a'])
  await scene.guest.output(`ls ${guest}`)
  truncateSync(join(host, 'a'), 1000)
  const size = await scene.words(`stat -c %s ${guest}/a`)
  return { observed: size === '1000' ? 'new size' : 'old size', evidence: size }
}

/** The reply to CREATE brings attributes that are valid for a day. */
async function made(scene: Scene): Promise<Observation> {
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_CREAT} ${scene.guestPath(scene.file('-new'))}`)
  await actor.do('size f')
  expectOpcodes(scene, [Opcode.CREATE, Opcode.GETATTR], 'CREATE')
  return { observed: 'not asked for', evidence: 'open with O_CREAT, fstat' }
}

const laterOnBoth = (): string => `${LONG_AGO} > later, host later`

export const timeCases: readonly LabCase[] = [
  {
    name: 'mmap/time-of-store',
    question: 'the time of an old file before a store through a mapping > after msync',
    shares: ['always', 'writeback'],
    expected: laterOnBoth,
    run: store,
  },
  {
    name: 'data/time-of-copy',
    question: 'the time of an old file before copy_file_range into it > after it',
    shares: ['always', 'writeback'],
    expected: laterOnBoth,
    run: copy,
  },
  {
    name: 'data/time-of-punch',
    question: 'the time of an old file before fallocate punches a hole > after it',
    shares: ['always', 'writeback'],
    expected: laterOnBoth,
    run: punch,
  },
  {
    name: 'data/time-of-truncate',
    question: 'the time of an old file before truncate > after it',
    shares: ['always', 'writeback'],
    expected: laterOnBoth,
    run: truncate,
  },
  {
    name: 'data/time-of-emptying',
    question: 'the time of an old file before an open with O_TRUNC > after it',
    shares: ['always', 'writeback'],
    expected: laterOnBoth,
    run: empty,
  },
  {
    name: 'cache/time-of-access',
    question: 'the time of access after a read, a read with O_DIRECT, and readlink',
    shares: ['always'],
    expected: () => 'asked for',
    run: access,
  },
  {
    name: 'write-back/blocks',
    question: "a file's blocks after it was written and closed",
    shares: ['writeback'],
    expected: () => 'asked for',
    run: blocks,
  },
  {
    name: 'cache/after-change',
    question: 'the size from fstat after the guest has set the times, and the host has changed the size',
    shares: ['direct', 'auto', 'always'],
    expected: ({ share }) => (share === 'always' ? 'old size' : 'new size'),
    run: afterChange,
  },
  {
    name: 'cache/after-listing',
    question: 'the size of a file that came with a listing, after the host has changed it',
    shares: ['names'],
    expected: () => 'new size',
    run: afterListing,
  },
  {
    name: 'requests/made',
    question: 'attributes of a file that was just made',
    shares: ['always'],
    expected: () => 'not asked for',
    run: made,
  },
]

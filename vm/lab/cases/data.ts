/** File contents: each case declares its writes, and the runner compares bytes, sizes and offsets. */
import { appendFileSync, constants, truncateSync, utimesSync } from 'node:fs'
import { FATTR_SIZE, Opcode } from 'virtio-fs-ts/protocol'
import type { TracedRequest } from '../../../src/inspect/trace-format.js'
import type { Actor, Outcome } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { patternBytes } from '../file-model.js'
import { expectRequest, told } from '../judging.js'
import type { GuestFacts } from '../kernel-rules.js'
import type { ShareName } from '../option-sets.js'
import type { Scene } from '../scene.js'

const { O_APPEND, O_CREAT, O_DIRECT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants
const MIB = 1 << 20
const PAGE = 4096
const FILL = 7
/** 2001-09-09. */
const LONG_AGO = 1_000_000_000

const POLICIES: readonly ShareName[] = ['direct', 'auto', 'always', 'writeback']

/** An open file of a scene with one actor. */
interface Stage {
  readonly scene: Scene
  readonly file: string
  readonly actor: Actor
}

async function openFile(scene: Scene, bytes: Buffer, flags = O_RDWR): Promise<Stage> {
  const file = scene.makeFileOf(bytes)
  const actor = scene.addActor()
  await actor.do(`open f ${flags} ${scene.guestPath(file)}`)
  return { scene, file, actor }
}

const asIs = (observed: string, evidence = ''): Observation => ({ observed, evidence })

/** Writes more bytes at once than fit into one request. */
async function largeWrite(scene: Scene, flags: number): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(0), flags)
  const sizeBytes = 2 * MIB + MIB / 2 + 100
  const model = scene.model(file)
  model.put(0, patternBytes(0, sizeBytes, 3))
  if (scene.share === 'direct' || scene.share === 'parallel')
    for (let at = 0; at < sizeBytes; at += MIB) model.expectWrite(at, Math.min(MIB, sizeBytes - at))
  const outcome = await actor.attempt(`fill f ${sizeBytes} 0 3`)
  await actor.do('close f')
  return asIs('value' in outcome && outcome.value === sizeBytes ? 'whole' : told(outcome))
}

/** Reads more bytes than fit into one request, and then an unaligned range. */
async function largeRead(scene: Scene, flags: number): Promise<Observation> {
  const sizeBytes = 2 * MIB + MIB / 2 + 100
  const { actor, file } = await openFile(scene, patternBytes(0, sizeBytes, 5), flags)
  const whole = await actor.do(`check f ${sizeBytes + PAGE} 0 5`)
  const part = await actor.do(`check f ${MIB + 1234} 4321 5`)
  const end = await actor.do(`check f ${PAGE} ${sizeBytes} 5`)
  const right =
    whole === `${sizeBytes}/${sizeBytes}` && part === `${MIB + 1234}/${MIB + 1234}` && end === '0/0'
  return asIs(
    right ? 'right' : `${whole}, ${part}, ${end}`,
    await scene.countWords(file, ({ reads }) => `${reads} READs`),
  )
}

/** A file that was old is written to. */
async function timeOfWrite(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  utimesSync(scene.hostPath(file), LONG_AGO, LONG_AGO)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  const before = await actor.do('mtime f')
  await actor.do('write f 100 0 9')
  scene.model(file).fill(0, 100, 9)
  const after = Number(await actor.do('mtime f'))
  await actor.do('close f')
  return asIs(`${before} > ${after > LONG_AGO ? 'later' : after}`)
}

/** Makes unaligned writes, and a read after each. */
async function unaligned(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(20_000, FILL))
  const pieces: [sizeBytes: number, offsetBytes: number][] = [
    [100, 0],
    [5000, 3000],
    [1, 4095],
    [1, 4096],
    [4096, 8191],
    [9000, 9999],
    [50, 19_950],
  ]
  const wrong: string[] = []
  for (const [n, [sizeBytes, offsetBytes]] of pieces.entries()) {
    await actor.do(`fill f ${sizeBytes} ${offsetBytes} ${n + 1}`)
    scene.model(file).put(offsetBytes, patternBytes(offsetBytes, sizeBytes, n + 1))
    const read = await actor.do(`check f ${sizeBytes} ${offsetBytes} ${n + 1}`)
    if (read !== `${sizeBytes}/${sizeBytes}`) wrong.push(`${read} of ${sizeBytes}@${offsetBytes}`)
  }
  await actor.do('close f')
  return asIs(wrong.length === 0 ? 'right' : wrong.join(', '))
}

/** Writes beyond the end. The gap and the rest of the last page must be zeros. */
async function hole(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(5000, FILL))
  await actor.do('read f 8192 0')
  await actor.do('write f 100 13000 9')
  scene.model(file).fill(13_000, 100, 9)
  const seen = await actor.do('read f 20000 0')
  await actor.do('close f')
  return asIs(seen === `${FILL}x5000 0x8000 9x100` ? 'zeros' : `${seen}`)
}

/** Truncates and extends a fully cached file. */
async function shrinkAndGrow(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(10_000, FILL))
  await actor.do('read f 12000 0')
  await actor.do('truncate f 3000')
  const short = await actor.do('read f 12000 0')
  await actor.do('truncate f 9000')
  const long = await actor.do('read f 12000 0')
  scene.model(file).resize(3000)
  scene.model(file).replace(Buffer.concat([Buffer.alloc(3000, FILL), Buffer.alloc(6000)]))
  await actor.do('close f')
  const right = short === `${FILL}x3000` && long === `${FILL}x3000 0x6000`
  return asIs(right ? 'zeros' : `${short} > ${long}`)
}

/** The device writes only 1000 of 4096 bytes. */
async function shortWrite(scene: Scene, operation: 'write' | 'aio'): Promise<Observation> {
  const flags = operation === 'aio' ? O_RDWR | O_DIRECT : O_RDWR
  const { actor, file } = await openFile(scene, Buffer.alloc(2 * PAGE), flags)
  await scene.fault(file, 'WRITE', { shortBytes: 1000, limit: 1 })
  const outcome = await actor.attempt(`${operation} f ${PAGE} 0 9`)
  scene.model(file).fill(0, 1000, 9)
  return asIs(told(outcome))
}

/** The device reads only 1000 of 4096 bytes, then the rest. */
async function shortRead(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(2 * PAGE, FILL), O_RDONLY)
  await scene.fault(file, 'READ', { shortBytes: 1000, limit: 1 })
  const short = await actor.do(`read f ${PAGE} 0`)
  const whole = await actor.do(`read f ${PAGE} 0`)
  return asIs(`${short} > ${whole}`)
}

/** The device refuses a write that extends the file. */
async function failedWrite(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(PAGE, FILL), O_RDWR)
  await scene.fault(file, 'WRITE', { errno: 'ENOSPC' })
  const written = await actor.attempt(`write f ${PAGE} ${PAGE} 9`)
  const synced = await actor.attempt('fsync f')
  await scene.holdNothing()
  // With write-back, the guest reports the new size before the device refuses the write.
  scene.model(file).comparesGuest = scene.share !== 'writeback'
  const size = scene.share === 'writeback' ? '' : `, size ${await actor.do('size f')}`
  return asIs(`write ${told(written)}, fsync ${told(synced)}${size}`)
}

/** Two processes append with O_APPEND in turn and call fstat in between. */
async function appendInTurn(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(1000, FILL), O_RDWR | O_APPEND)
  const other = scene.addActor()
  await other.do(`open f ${O_WRONLY | O_APPEND} ${scene.guestPath(file)}`)
  let sizeBytes = 1000
  const wrong: string[] = []
  for (let n = 0; n < 6; n++) {
    const writer = n % 2 === 0 ? actor : other
    await writer.do(`write f 700 0 ${n + 10}`)
    scene.model(file).fill(sizeBytes, 700, n + 10)
    sizeBytes += 700
    const seen = await writer.do('size f')
    if (seen !== sizeBytes) wrong.push(`${seen} instead of ${sizeBytes}`)
  }
  await actor.do('close f')
  await other.do('close f')
  return asIs(wrong.length === 0 ? 'right' : wrong.join(', '))
}

/** Calls fstat and lseek after a write that extends the file. */
async function sizeAfterWrite(scene: Scene, operation: string): Promise<Observation> {
  const flags = operation === 'write' ? O_RDWR : O_RDWR | O_DIRECT
  const { actor, file } = await openFile(scene, Buffer.alloc(PAGE, FILL), flags)
  const before = await actor.do('size f')
  await actor.do(`${operation} f ${PAGE} ${2 * PAGE} 9`)
  scene.model(file).fill(2 * PAGE, PAGE, 9)
  const [size, end] = [await actor.do('size f'), await actor.do('seek f 0 2')]
  const read = await actor.do(`read f ${4 * PAGE} ${PAGE}`)
  return asIs(`${before} > ${size}, end ${end}, ${read}`)
}

const KEEP_SIZE = 1
const PUNCH_HOLE = 2

/** Extends the file with fallocate, and punches a hole into cached data. */
async function allocate(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(3 * PAGE, FILL))
  await actor.do(`read f ${3 * PAGE} 0`)
  await actor.do(`allocate f ${KEEP_SIZE | PUNCH_HOLE} ${PAGE} ${PAGE}`)
  scene.model(file).fill(PAGE, PAGE, 0)
  const punched = await actor.do(`read f ${3 * PAGE} 0`)
  await actor.do(`allocate f 0 0 ${5 * PAGE}`)
  scene.model(file).resize(5 * PAGE)
  const size = await actor.do('size f')
  const right = punched === `${FILL}x${PAGE} 0x${PAGE} ${FILL}x${PAGE}` && size === 5 * PAGE
  return asIs(right ? 'right' : `${punched}, size ${size}`)
}

/** Writes part of an uncached page, then reads the rest of the page through a mapping. */
async function peekAfterWrite(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(PAGE, FILL))
  await actor.do('write f 100 50 9')
  scene.model(file).fill(50, 100, 9)
  await actor.do(`map m f ${PAGE} shared r`)
  const seen = await actor.do(`peek m ${PAGE} 0`)
  return asIs(seen === `${FILL}x50 9x100 ${FILL}x${PAGE - 150}` ? 'right' : `${seen}`)
}

/** Calls copy_file_range from freshly written to cached data. */
async function copyRange(scene: Scene): Promise<Observation> {
  const source = scene.makeFileOf(Buffer.alloc(2 * PAGE, FILL), '-source')
  const { actor, file } = await openFile(scene, Buffer.alloc(3 * PAGE, 1))
  await actor.do(`open s ${O_RDWR} ${scene.guestPath(source)}`)
  await actor.do(`read f ${3 * PAGE} 0`)
  await actor.do(`write s ${PAGE} 0 9`)
  scene.model(source).fill(0, PAGE, 9)
  // Begins and ends within cached pages.
  const [at, sizeBytes] = [PAGE + 100, PAGE + 200]
  const copied = await actor.do(`copy s f ${sizeBytes} 0 ${at}`)
  scene.model(file).fill(at, PAGE, 9)
  scene.model(file).fill(at + PAGE, 200, FILL)
  const seen = await actor.do(`read f ${3 * PAGE} 0`)
  const right = copied === sizeBytes && seen === `1x${at} 9x${PAGE} ${FILL}x200 1x${PAGE - 300}`
  return asIs(right ? 'right' : `${copied}: ${seen}`)
}

/** Moves bytes from file to file through a pipe. */
async function splice(scene: Scene): Promise<Observation> {
  const bytes = patternBytes(0, 3 * PAGE, 5)
  const source = scene.makeFileOf(bytes, '-source')
  const { actor, file } = await openFile(scene, Buffer.alloc(4 * PAGE, FILL))
  await actor.do(`open s ${O_RDONLY} ${scene.guestPath(source)}`)
  const [from, to, sizeBytes] = [100, PAGE + 50, 2 * PAGE + 10]
  const moved = await actor.do(`splice s f ${sizeBytes} ${from} ${to}`)
  scene.model(file).put(to, bytes.subarray(from, from + sizeBytes))
  await actor.do('close f')
  return asIs(`${moved}`)
}

const [SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE] = [1, 2, 3, 4]
/** The host's file systems keep holes of this size. */
const BLOCK = 65_536

/** Compares data and holes with the host's file. */
async function seekData(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(BLOCK, FILL))
  const path = scene.hostPath(file)
  truncateSync(path, 2 * BLOCK)
  appendFileSync(path, Buffer.alloc(BLOCK, FILL))
  scene.model(file).fill(2 * BLOCK, BLOCK, FILL)
  scene.model(file).comparesGuest = scene.share === 'direct'
  const seeks: [offset: number, whence: number][] = [
    [0, SEEK_DATA],
    [0, SEEK_HOLE],
    [BLOCK, SEEK_DATA],
    [0, SEEK_CUR],
    [3 * BLOCK, SEEK_DATA],
    [10, 0],
    ...(scene.share === 'direct' ? [[-PAGE, SEEK_END] as [number, number]] : []),
  ]
  const positions: string[] = []
  for (const [offset, whence] of seeks)
    positions.push(told(await actor.attempt(`seek f ${offset} ${whence}`)))
  return asIs(positions.join(' '))
}

/** Opens a file with O_TRUNC while its pages are cached. */
async function truncatingOpen(scene: Scene): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(2 * PAGE, FILL))
  await actor.do(`read f ${2 * PAGE} 0`)
  await actor.do(`open t ${O_RDWR | O_TRUNC} ${scene.guestPath(file)}`)
  const emptied = await actor.do('size t')
  expectRequest(
    scene,
    'OPEN with O_TRUNC',
    ({ opcode, flags }) => opcode === Opcode.OPEN && (flags & O_TRUNC) !== 0,
  )
  await actor.do('write t 100 5000 9')
  scene.model(file).resize(0)
  scene.model(file).fill(5000, 100, 9)
  const seen = await actor.do(`read f ${4 * PAGE} 0`)
  const right = emptied === 0 && seen === '0x5000 9x100'
  return asIs(right ? 'emptied' : `size ${emptied}, ${seen}`)
}

/** Makes a new file with O_CREAT and checks its mode and bytes. */
async function create(scene: Scene): Promise<Observation> {
  const actor = scene.addActor()
  const file = scene.file('-new')
  await actor.do(`open f ${O_RDWR | O_CREAT} ${scene.guestPath(file)}`)
  await actor.do('fill f 9000 0 4')
  const again = await actor.attempt(`open g ${O_RDWR | O_CREAT | constants.O_EXCL} ${scene.guestPath(file)}`)
  const read = await actor.do('check f 10000 0 4')
  await actor.do('close f')
  const right = scene.readFile(file).equals(patternBytes(0, 9000, 4))
  return asIs(`${read}, ${told(again)}, the host ${right ? 'has it' : 'has something else'}`)
}

/** Holds the reply to a write-back. The following operation has to wait for it. */
async function afterWriteBack(scene: Scene, then: string, opcode: number): Promise<Observation> {
  const { actor, file } = await openFile(scene, Buffer.alloc(4 * PAGE))
  const other = scene.addActor()
  await other.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`write f ${4 * PAGE} 0 9`)
  scene.model(file).fill(0, 4 * PAGE, 9)
  if (opcode === Opcode.SETATTR) scene.model(file).resize(100)
  await scene.holdWrites(file, 1000)
  // fsync holds the inode's lock, but sync does not.
  const writeBack = opcode === Opcode.FSYNC ? undefined : scene.guest.spawn('sync')
  if (writeBack === undefined) await actor.start('fsync f')
  await scene.writeInFlight(file)
  await other.start(then)
  await scene.rest(other)
  await scene.holdNothing()
  await writeBack?.result
  const outcomes: Outcome[] = [...(await actor.join()), ...(await other.join())]
  // Write-back also sends times.
  const isIt = (request: TracedRequest): boolean =>
    request.opcode === opcode && (opcode !== Opcode.SETATTR || (request.detailFlags & FATTR_SIZE) !== 0)
  scene.judgeRequests((requests) => {
    const writeEnd = Math.max(
      ...requests
        .filter(({ request }) => request.opcode === Opcode.WRITE)
        .map(({ request }) => request.seenMs + request.latencyUs / 1000),
    )
    const early = requests.filter(({ request }) => isIt(request) && request.seenMs < writeEnd)
    return early.length === 0 ? [] : [`${early.length} came before the reply to the WRITE`]
  })
  const failed = outcomes.find((outcome) => 'error' in outcome)
  return asIs(failed === undefined ? 'after the write-back' : told(failed))
}

const always = (expected: string) => () => expected
const sizes = (facts: GuestFacts, first: string, others: string): string =>
  facts.share === 'direct' || facts.share === 'auto' || facts.share === 'always' ? first : others

export const dataCases: readonly LabCase[] = [
  {
    name: 'data/large-write',
    question: 'one write of 2.5 MiB, in requests of 1 MiB',
    shares: ['direct', 'parallel', 'auto', 'writeback'],
    expected: always('whole'),
    run: (scene) => largeWrite(scene, O_RDWR),
  },
  {
    name: 'data/large-write-o-direct',
    question: "one write of 2.5 MiB with the guest's O_DIRECT",
    shares: ['direct', 'auto'],
    expected: always('whole'),
    run: (scene) => largeWrite(scene, O_RDWR | O_DIRECT),
  },
  {
    name: 'data/large-read',
    question: 'one read of 2.5 MiB, one in between, one at the end',
    shares: ['direct', 'auto'],
    expected: always('right'),
    run: (scene) => largeRead(scene, O_RDONLY),
  },
  {
    name: 'data/large-read-o-direct',
    question: "large reads with the guest's O_DIRECT",
    shares: ['direct', 'auto'],
    expected: always('right'),
    run: (scene) => largeRead(scene, O_RDONLY | O_DIRECT),
  },
  {
    name: 'data/time-of-write',
    question: 'the time of an old file before a write > after it',
    shares: POLICIES,
    expected: always(`${LONG_AGO} > later`),
    run: timeOfWrite,
  },
  {
    name: 'data/unaligned',
    question: 'writes and reads that begin and end anywhere',
    shares: POLICIES,
    expected: always('right'),
    run: unaligned,
  },
  {
    name: 'data/peek-after-write',
    question: 'a mapping of a partly written page',
    shares: ['auto', 'always', 'writeback'],
    expected: always('right'),
    run: peekAfterWrite,
  },
  {
    name: 'data/hole',
    question: 'a write beyond the end of a file that is cached: what lies between',
    shares: POLICIES,
    expected: always('zeros'),
    run: hole,
  },
  {
    name: 'data/shrink-and-grow',
    question: 'truncated and extended while it is cached: what lies between',
    shares: POLICIES,
    expected: always('zeros'),
    run: shrinkAndGrow,
  },
  {
    name: 'data/short-write',
    question: 'the device writes 1000 bytes of 4096',
    shares: ['direct', 'auto'],
    expected: always('1000'),
    run: (scene) => shortWrite(scene, 'write'),
  },
  {
    name: 'data/short-aio',
    question: 'the device writes 1000 of the 4096 bytes of an asynchronous write',
    shares: ['direct', 'direct-noasync'],
    expected: ({ asyncDio }) => (asyncDio ? 'EIO' : '1000'),
    run: (scene) => shortWrite(scene, 'aio'),
  },
  {
    name: 'data/short-read',
    question: 'the device reads 1000 bytes of 4096, and then all',
    shares: ['direct'],
    expected: always(`${FILL}x1000 > ${FILL}x${PAGE}`),
    run: shortRead,
  },
  {
    name: 'data/failed-write',
    question: 'the device has no space for a write that extends the file',
    shares: POLICIES,
    expected: (facts) => sizes(facts, `write ENOSPC, fsync 0, size ${PAGE}`, `write ${PAGE}, fsync ENOSPC`),
    run: failedWrite,
  },
  {
    name: 'data/append-in-turn',
    question: 'O_APPEND by two processes in turn',
    shares: POLICIES,
    expected: always('right'),
    run: appendInTurn,
  },
  {
    name: 'data/size-after-write',
    question: 'fstat, lseek and read after a write beyond the end',
    shares: ['direct', 'metadata', 'auto', 'always', 'writeback'],
    expected: always(`${PAGE} > ${3 * PAGE}, end ${3 * PAGE}, 0x${PAGE} 9x${PAGE}`),
    run: (scene) => sizeAfterWrite(scene, 'write'),
  },
  {
    name: 'data/size-after-aio',
    question: 'fstat, lseek and read after an io_submit with O_DIRECT beyond the end',
    shares: ['direct', 'metadata', 'auto'],
    expected: always(`${PAGE} > ${3 * PAGE}, end ${3 * PAGE}, 0x${PAGE} 9x${PAGE}`),
    run: (scene) => sizeAfterWrite(scene, 'aio'),
  },
  {
    name: 'data/allocate',
    question: 'fallocate that punches a hole into what is cached, and that extends',
    shares: POLICIES,
    expected: always('right'),
    run: allocate,
  },
  {
    name: 'data/copy-range',
    question: 'copy_file_range from what was just written to what is cached',
    shares: POLICIES,
    expected: always('right'),
    run: copyRange,
  },
  {
    name: 'data/splice',
    question: 'splice from a place in one file through a pipe to a place in another: bytes',
    shares: POLICIES,
    expected: always(`${2 * PAGE + 10}`),
    run: splice,
  },
  {
    name: 'data/seek',
    question:
      'lseek to data, to a hole, to data, from there, to data behind the end, to a place, and from the end after the host has made it longer',
    shares: ['direct', 'auto'],
    expected: ({ share }) =>
      `0 ${BLOCK} ${2 * BLOCK} ${2 * BLOCK} ENXIO 10${share === 'direct' ? ` ${3 * BLOCK - PAGE}` : ''}`,
    run: seekData,
  },
  {
    name: 'data/truncating-open',
    question: 'opened with O_TRUNC while it is cached',
    shares: POLICIES,
    expected: always('emptied'),
    run: truncatingOpen,
  },
  {
    name: 'data/create',
    question: 'a new file: its bytes, and O_EXCL',
    shares: POLICIES,
    expected: always('9000/9000, EEXIST, the host has it'),
    run: create,
  },
  {
    name: 'data/fsync-waits',
    question: 'fsync by another process while pages are written back',
    shares: ['writeback'],
    expected: always('after the write-back'),
    run: (scene) => afterWriteBack(scene, 'fsync f', Opcode.FSYNC),
  },
  {
    name: 'data/truncate-waits',
    question: 'ftruncate by another process while pages are written back',
    shares: ['writeback'],
    expected: always('after the write-back'),
    run: (scene) => afterWriteBack(scene, 'truncate f 100', Opcode.SETATTR),
  },
]

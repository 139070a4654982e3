/** Attributes: which requests ask for them, which write-back sends, and what new ones do to the pages. */
import { constants, writeFileSync } from 'node:fs'
import { FATTR_CTIME, FATTR_MTIME, FUSE_WRITE_CACHE, Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { expectOpcodes, expectRequests } from '../judging.js'
import { hasStatx } from '../kernel-rules.js'
import type { Scene } from '../scene.js'

const { O_RDWR } = constants
const PAGE = 4096
const MIB = 1 << 20
const FILL = 7
const NEW = 9
/** 2001-09-09. */
const LONG_AGO = 1_000_000_000
const [FORCE_SYNC, DONT_SYNC] = [0x2000, 0x4000]
const [BASIC_STATS, BTIME] = [0x7ff, 0x800]

/** statx of attributes that the guest has to ask for, and of those that it knows. */
async function statx(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  scene.model(file).fill(0, 100, NEW)
  // After a write the guest does not know the size.
  for (const flags of [DONT_SYNC, 0]) {
    await actor.do(`write f 100 0 ${NEW}`)
    await actor.do(`statx f ${flags} ${BASIC_STATS}`)
  }
  for (const flags of [0, FORCE_SYNC]) await actor.do(`statx f ${flags} ${BASIC_STATS}`)
  const birth = await actor.do(`statx f 0 ${BASIC_STATS | BTIME}`)
  const last = hasStatx(scene.facts) ? ' STATX' : ''
  expectOpcodes(scene, [Opcode.GETATTR, Opcode.STATX], `GETATTR GETATTR${last}`)
  return {
    observed: `${birth}`,
    evidence: 'not synchronised, as usual, again, synchronised, with the time of birth',
  }
}

/** The reply to a change brings a new size, of a file that the host has replaced. */
async function changeBringsSize(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(1000, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`read f ${PAGE} 0`)
  writeFileSync(scene.hostPath(file), Buffer.alloc(2000, NEW))
  scene.model(file).replace(Buffer.alloc(2000, NEW))
  scene.model(file).comparesGuest = false
  await actor.do(`settimes f ${LONG_AGO}`)
  return { observed: `${await actor.do(`read f ${PAGE} 0`)}`, evidence: 'read, futimens, read' }
}

/** With write-back, fsync sends the pages, then the times that the guest keeps, and then itself. */
async function writeBack(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`write f ${PAGE} 0 ${NEW}`)
  scene.model(file).fill(0, PAGE, NEW)
  await actor.do('fsync f')
  const named = (detail: number, names: Readonly<Record<string, number>>): string =>
    Object.entries(names)
      .filter(([, bit]) => (detail & bit) !== 0)
      .map(([name]) => `+${name}`)
      .join('')
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.WRITE || opcode === Opcode.SETATTR || opcode === Opcode.FSYNC,
    ({ opcode, detailFlags }) =>
      opcodeName(opcode) +
      (opcode === Opcode.WRITE ? named(detailFlags, { cache: FUSE_WRITE_CACHE }) : '') +
      (opcode === Opcode.SETATTR ? named(detailFlags, { mtime: FATTR_MTIME, ctime: FATTR_CTIME }) : ''),
    'WRITE+cache SETATTR+mtime+ctime FSYNC',
  )
  return { observed: 'pages, times, FSYNC', evidence: 'write, fsync' }
}

/** Finds the largest WRITE of a long write. */
async function largestWrite(scene: Scene): Promise<Observation> {
  const sizeBytes = 4 * MIB
  const file = scene.makeFile(sizeBytes, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`write f ${sizeBytes} 0 ${NEW}`)
  scene.model(file).fill(0, sizeBytes, NEW)
  await actor.do('fsync f')
  scene.judgeRequests((requests) => {
    const sizes = requests
      .filter(({ request }) => request.opcode === Opcode.WRITE)
      .map(({ request }) => request.sizeBytes)
    return Math.max(...sizes) === MIB ? [] : [`${Math.max(...sizes) >> 10} KiB in ${sizes.length} WRITEs`]
  })
  return { observed: '1024 KiB', evidence: `one write of ${sizeBytes} bytes` }
}

export const attributeCases: readonly LabCase[] = [
  {
    name: 'requests/statx',
    question: 'statx of a file that was just written: is there a time of birth',
    needs: 'virtio',
    shares: ['always'],
    expected: (facts) => (hasStatx(facts) ? '1 birth' : '1 none'),
    run: statx,
  },
  {
    name: 'cache/change-brings-size',
    question: 'a file that the host has replaced, after the guest has set its times',
    shares: ['always', 'writeback'],
    expected: ({ share }) => (share === 'writeback' ? `${FILL}x1000` : `${NEW}x2000`),
    run: changeBringsSize,
  },
  {
    name: 'write-back/fsync',
    question: 'requests of fsync',
    shares: ['writeback'],
    expected: () => 'pages, times, FSYNC',
    run: writeBack,
  },
  {
    name: 'requests/largest-write',
    question: 'the largest WRITE of a write of 4 MiB and fsync',
    shares: ['direct', 'auto', 'writeback'],
    expected: () => '1024 KiB',
    run: largestWrite,
  },
]

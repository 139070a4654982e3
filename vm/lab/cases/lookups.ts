/** Lookups: when the guest makes them, what it believes of them, and that it gives each of them back. */
import { chmodSync, constants, mkdirSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { expectOpcodes, told } from '../judging.js'
import { listsByRoom } from '../kernel-rules.js'
import type { Scene } from '../scene.js'
import { attributesExpire } from './cache.js'
import { DROP_CACHES } from './entries.js'

const { O_DIRECTORY, O_RDONLY } = constants
const PAGE = 4096
const FORGET_LOOKS = 40

/**
 * Does something after which the guest forgets what matches, or anything without a path: a removed file has none. Resolves when
 * `count` FORGETs have come, or after a while.
 */
async function forget(
  scene: Scene,
  path: string | undefined,
  act: () => Promise<unknown>,
  count = 1,
  drop = DROP_CACHES,
): Promise<number> {
  // A delay of zero counts the requests it applies to.
  await scene.ask('fault-add', { opcodes: ['FORGET'], path, delay: { fixedMs: 0 } })
  const applied = async (): Promise<number> =>
    (await scene.ask<{ applied: number }[]>('fault-list'))[0]!.applied
  await act()
  // What was used a moment ago stays at first. FORGET has no reply to wait for.
  for (let n = 0; n < FORGET_LOOKS && (await applied()) < count; n++) await scene.guest.output(drop)
  const forgotten = await applied()
  await scene.holdNothing()
  return forgotten
}

/** The device numbers a file anew after the guest has given back all of its lookups. */
function expectNumbers(scene: Scene, count: number): void {
  scene.judgeRequests((requests) => {
    const nodes = requests
      .filter(({ request }) => request.opcode === Opcode.OPEN)
      .map(({ request }) => request.nodeid)
    return nodes.length === count && new Set(nodes).size === count ? [] : [`opened as ${nodes.join(', ')}`]
  })
}

/** An open file is looked up again by its name, which expires at once. */
async function openFile(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(['a'])
  const a = `${scene.file()}/a`
  await forget(scene, a, () => scene.guest.output(`exec 3<${guest}/a; stat ${guest}/a; exec 3<&-`))
  await scene.guest.output(`cat ${guest}/a`)
  expectNumbers(scene, 2)
  return { observed: 'all given back', evidence: 'open, stat, close, open' }
}

/** A listing brings files for whose names the reader has no room. */
async function unread(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(['a', 'b', 'c', 'd', 'e'])
  const files = `${scene.file()}/?`
  const actor = scene.addActor()
  await forget(
    scene,
    files,
    async () => {
      await actor.do(`open d ${O_DIRECTORY} ${guest}`)
      await actor.do('entries d 100')
      await actor.do('close d')
    },
    5,
  )
  const names = ['a', 'b', 'c', 'd', 'e'].map((name) => `${guest}/${name}`).join(' ')
  await forget(scene, files, () => scene.guest.output(`cat ${names}`), 5)
  await scene.guest.output(`cat ${names}`)
  expectNumbers(scene, 10)
  return { observed: 'all given back', evidence: 'a part of a listing, opens, opens' }
}

/** The host gives a name to another file, which the guest finds when it looks the name up again. */
async function replaced(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(['a'])
  await scene.guest.output(`cat ${guest}/a`)
  writeFileSync(join(host, 'new'), 'new')
  renameSync(join(host, 'new'), join(host, 'a'))
  await attributesExpire(scene)
  await scene.guest.output(`cat ${guest}/a`)
  await forget(scene, `${scene.file()}/a`, async () => {})
  await scene.guest.output(`cat ${guest}/a`)
  expectNumbers(scene, 3)
  return { observed: 'all given back', evidence: 'open, replaced on the host, open, open' }
}

/** What has no name any more is forgotten at once. */
async function removed(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(['a'])
  mkdirSync(join(host, 'd'))
  const count = await forget(
    scene,
    undefined,
    () => scene.guest.output(`rm ${guest}/a; rmdir ${guest}/d`),
    2,
    'sleep 0.05',
  )
  return { observed: `${count} of 2`, evidence: '' }
}

/** The host has removed a name that the guest remembers for a day, and that it now wants to make. */
async function remade(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(['a'])
  const actor = scene.addActor()
  await scene.guest.output(`stat ${guest}/a`)
  rmSync(join(host, 'a'))
  return { observed: told(await actor.attempt(`mkdir ${guest}/a`)), evidence: '' }
}

/** A name of an open file cannot be looked up again. */
async function failed(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(10, 1)
  const actor = scene.addActor()
  const open = async (name: string): Promise<string> =>
    told(await actor.attempt(`open ${name} ${O_RDONLY} ${scene.guestPath(file)}`))
  await open('f')
  await scene.fault(file, 'LOOKUP', { errno: 'EIO' })
  const refused = await open('g')
  await scene.holdNothing()
  return { observed: `${refused} > ${await open('g')}`, evidence: '' }
}

/** A directory that may have become open to others, or closed, is looked up again. */
async function changedMode(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory([])
  chmodSync(host, 0o755)
  await scene.guest.output(`stat ${guest}; chmod 700 ${guest}; stat ${guest}`)
  expectOpcodes(scene, [Opcode.LOOKUP, Opcode.SETATTR], 'LOOKUP SETATTR LOOKUP')
  return { observed: 'looked up again', evidence: 'stat, chmod, stat' }
}

const ENTRIES = 400
const ROOM_BYTES = 16_384

/** Reads the names of a large directory, and looks at none of the files. Only the first request asks for attributes. */
async function namesAlone(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(Array.from({ length: ENTRIES }, (_, n) => `entry-${n}`))
  const actor = scene.addActor()
  await actor.do(`open d ${O_DIRECTORY} ${guest}`)
  let entries = 0
  for (let count = -1; count !== 0; entries += count)
    count = Number(`${await actor.do(`entries d ${ROOM_BYTES}`)}`.split(' ')[0])
  const byRoom = listsByRoom(scene.facts)
  scene.judgeRequests((requests) => {
    const lists = requests.filter(
      ({ request: { opcode } }) => opcode === Opcode.READDIR || opcode === Opcode.READDIRPLUS,
    )
    const kinds = lists.map(({ request }) => opcodeName(request.opcode))
    const once = kinds.filter((kind, n) => kind !== kinds[n - 1]).join(' ')
    const largest = Math.max(...lists.map(({ request }) => request.sizeBytes))
    const expected = byRoom ? ROOM_BYTES : PAGE
    return [
      ...(once === 'READDIRPLUS READDIR' ? [] : [`${once} instead of READDIRPLUS READDIR`]),
      ...(byRoom === undefined || largest === expected ? [] : [`asks for ${largest} bytes`]),
    ]
  })
  return { observed: `${entries}`, evidence: `getdents64 with room for ${ROOM_BYTES} bytes` }
}

/** The guest makes a file in a directory that it has listed, and the host sets the directory's time back. */
async function listedAgain(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(['a', 'b'])
  const count = `ls ${guest} | wc -l`
  utimesSync(host, LONG_AGO, LONG_AGO)
  const before = await scene.words(`${count}; touch ${guest}/c`)
  utimesSync(host, LONG_AGO, LONG_AGO)
  return { observed: `${before} > ${await scene.words(count)}`, evidence: '' }
}

/** A reader goes back to the middle of a directory whose listing the guest has dropped meanwhile. Another one then lists it. */
async function tail(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(Array.from({ length: ENTRIES }, (_, n) => `entry-${n}`))
  const seen = told(await scene.addActor().attempt(`listdropped ${FIRST} ${guest}`))
  return { observed: `${seen}, ${await scene.words(`ls ${guest} | wc -l`)}`, evidence: '' }
}

const FIRST = 150
/** 2001-09-09. */
const LONG_AGO = 1_000_000_000

export const lookupCases: readonly LabCase[] = [
  {
    name: 'names/open-file',
    question: 'the number of a file that was looked up again while it was open, when it is opened again',
    needs: 'virtio',
    shares: ['direct'],
    expected: () => 'all given back',
    run: openFile,
  },
  {
    name: 'names/unread',
    question: 'numbers of files that were listed without room for their names, when they are opened twice',
    needs: 'virtio',
    shares: ['always'],
    expected: () => 'all given back',
    run: unread,
  },
  {
    name: 'names/given-back',
    question: 'the number of a file that has taken over a name, when it is opened again',
    needs: 'virtio',
    shares: ['auto'],
    expected: () => 'all given back',
    run: replaced,
  },
  {
    name: 'names/removed',
    question: 'FORGETs after a file and a directory are removed',
    needs: 'virtio',
    shares: ['always'],
    expected: () => '2 of 2',
    run: removed,
  },
  {
    name: 'names/listed-again',
    question:
      "entries of a directory: listed > after the guest has added one, and the host has set the directory's time back",
    shares: ['direct', 'metadata', 'always'],
    expected: () => '2 > 3',
    run: listedAgain,
  },
  {
    name: 'names/list-tail',
    question: `of ${ENTRIES + 2} entries ${FIRST} are read, then the rest, then, with caches dropped, the rest again; listed anew`,
    shares: ['metadata', 'always'],
    expected: () => {
      const rest = ENTRIES + 2 - FIRST
      return `${ENTRIES + 2}/${ENTRIES}/${rest}/${rest}, ${ENTRIES}`
    },
    run: tail,
  },
  {
    name: 'names/remade',
    question: 'mkdir of a name that the host has removed, and that the guest remembers for a day',
    shares: ['always'],
    expected: () => '0',
    run: remade,
  },
  {
    name: 'errors/lookup',
    question: 'an open file is opened again, when the device cannot look it up > once it can',
    needs: 'virtio',
    shares: ['direct'],
    expected: () => 'EIO > 0',
    run: failed,
  },
  {
    name: 'requests/changed-mode',
    question: 'a directory that is remembered for a day, after a chmod',
    shares: ['always'],
    expected: () => 'looked up again',
    run: changedMode,
  },
  {
    name: 'requests/list-names',
    question: `the names of a directory of ${ENTRIES}`,
    needs: 'virtio',
    shares: ['auto'],
    expected: () => `${ENTRIES + 2}`,
    run: namesAlone,
  },
]

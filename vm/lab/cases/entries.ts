/** The names and listings that the guest remembers, and its requests about them. */
import { constants, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import type { TracedRequest } from '../../../src/inspect/trace-format.js'
import type { LabCase, Observation } from '../case.js'
import { expectRequests, told } from '../judging.js'
import type { Scene } from '../scene.js'

const { O_CREAT, O_EXCL, O_RDWR } = constants
const ENTRIES = 200
/** Where the listing is interrupted. */
const FIRST = 150
const [RENAME_NOREPLACE, RENAME_EXCHANGE] = [1, 2]

/** Lists a directory; then reads a part of it, the rest, goes back and reads the rest again. */
async function seekBack(scene: Scene): Promise<Observation> {
  const names = Array.from({ length: ENTRIES }, (_, n) => `entry-${n}`)
  const { guest } = scene.makeDirectory(names)
  await scene.guest.output(`echo ${guest}/*`)
  return { observed: told(await scene.addActor().attempt(`listtwice ${FIRST} ${guest}`)), evidence: '' }
}

/** A listing brings attributes that are newer than the ones that the guest remembers. */
async function listingUpdates(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(['a'])
  const size = `stat -c %s ${guest}/a`
  const before = await scene.words(size)
  truncateSync(join(host, 'a'), 1000)
  return { observed: `${before} > ${await scene.words(`ls ${guest} >/dev/null; ${size}`)}`, evidence: '' }
}

/** Moves a file between two directories that the guest has listed. */
async function move(scene: Scene): Promise<Observation> {
  const from = scene.makeDirectory(['a', 'b'], '-from')
  const to = scene.makeDirectory(['c'], '-to')
  const look = `ls ${from.guest} | wc -l; ls ${to.guest} | wc -l; stat -c %y ${from.guest} ${to.guest} | tr ' ' _`
  const before = (await scene.words(look)).split(' ')
  const after = (await scene.words(`sleep 0.02; mv ${from.guest}/a ${to.guest}/; ${look}`)).split(' ')
  const counts = [...before.slice(0, 2), ...after.slice(0, 2)].join(' ')
  const times = [2, 3].map((n) => (before[n] === after[n] ? 'same time' : 'later')).join(', ')
  return { observed: `${counts}, ${times}`, evidence: after.join(' ') }
}

/** renameat2 with its flags: each of two names takes the file of the other; a name that is taken stays. */
async function renameFlags(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(['a', 'bb'])
  const actor = scene.addActor()
  const look = `stat -c '%s %h' ${guest}/a ${guest}/bb`
  const before = await scene.words(look)
  const exchanged = told(await actor.attempt(`rename ${RENAME_EXCHANGE} ${guest}/a ${guest}/bb`))
  const after = await scene.words(look)
  const refused = told(await actor.attempt(`rename ${RENAME_NOREPLACE} ${guest}/a ${guest}/bb`))
  const sizes = ['a', 'bb'].map((name) => statSync(join(host, name)).size).join(' ')
  return { observed: `${before} > ${exchanged}: ${after}, host ${sizes} > ${refused}`, evidence: '' }
}

/** Sets, replaces, lists and removes extended attributes. */
async function xattrs(scene: Scene): Promise<Observation> {
  const path = scene.guestPath(scene.makeFile(10))
  const actor = scene.addActor()
  const [create, replace] = [1, 2]
  const operations = [
    `setxattr ${create} user.one first ${path}`,
    `setxattr ${create} user.one again ${path}`,
    `setxattr ${replace} user.two second ${path}`,
    `setxattr 0 user.two second ${path}`,
    `getxattr user.one ${path}`,
    `listxattr ${path}`,
    `removexattr user.one ${path}`,
    `getxattr user.one ${path}`,
    `listxattr ${path}`,
  ]
  const outcomes: string[] = []
  for (const operation of operations) outcomes.push(told(await actor.attempt(operation)))
  return { observed: outcomes.join(', '), evidence: '' }
}

/** A name and a missing name that stay known for a day, with attributes that the guest may not keep. */
async function timeouts(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(['a'])
  await scene.guest.output(`cd ${guest}; stat a; stat a; test -e b; test -e b; true`)
  const isAbout = ({ opcode, path }: TracedRequest): boolean =>
    opcode === Opcode.LOOKUP
      ? /[/][ab]$/.test(path ?? '')
      : opcode === Opcode.GETATTR && /[/]a$/.test(path ?? '')
  expectRequests(scene, isAbout, ({ opcode }) => opcodeName(opcode), 'LOOKUP GETATTR GETATTR LOOKUP')
  return { observed: 'names kept, attributes not', evidence: 'stat, stat; test -e of a missing name, twice' }
}

/** The host makes a name after the guest has found it to be free, and before its CREATE is served. */
async function exclusive(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory([])
  const actor = scene.addActor()
  await scene.hold(`${scene.file()}/a`, 'CREATE', 2)
  await actor.start(`open f ${O_RDWR | O_CREAT | O_EXCL} ${guest}/a`)
  await scene.rest(actor)
  writeFileSync(join(host, 'a'), 'from the host')
  await scene.holdNothing()
  const [made] = await actor.join()
  return { observed: told(made!), evidence: '' }
}

/** A file that came by LOOKUP and by READDIRPLUS is forgotten for both, so the device gives it another number next time. */
async function forgotten(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(['a'])
  await scene.guest.output(`cat ${guest}/a; ls -l ${guest}`)
  await scene.fault(`${scene.file()}/a`, 'FORGET', { delay: { fixedMs: 0 } })
  const applied = async (): Promise<number> =>
    (await scene.ask<{ applied: number }[]>('fault-list'))[0]!.applied
  // What was used a moment ago stays at first. FORGET has no reply to wait for.
  for (let n = 0; n < FORGET_LOOKS && (await applied()) === 0; n++) await scene.guest.output(DROP_CACHES)
  await scene.holdNothing()
  await scene.guest.output(`cat ${guest}/a`)
  scene.judgeRequests((requests) => {
    const nodes = requests
      .filter(({ request }) => request.opcode === Opcode.OPEN)
      .map(({ request }) => request.nodeid)
    return new Set(nodes).size === 2 ? [] : [`opened as ${nodes.join(', ')}`]
  })
  return { observed: 'another number', evidence: 'the numbers of its OPENs' }
}

const FORGET_LOOKS = 40
/** Makes the guest forget what it does not use, and waits a moment. */
export const DROP_CACHES = 'sync; echo 3 >/proc/sys/vm/drop_caches; sleep 0.1'

/** Makes changes that move a file's time of change, and looks at it after each. */
async function changeTimes(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(['a'])
  const changes = ['mv a b', 'ln b c', 'chmod 600 b', 'rm c']
  const look = 'stat -c %z b 2>/dev/null || stat -c %z a'
  const seen = await scene.words(
    `cd ${guest}; last=$(${look}); for change in ${changes.map((change) => `'${change}'`).join(' ')}; do
       sleep 0.02; $change; new=$(${look}); [ "$new" = "$last" ] && echo same || echo later; last=$new; done`,
  )
  return { observed: seen, evidence: changes.join(', ') }
}

async function fifo(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory([])
  const seen = await scene.words(`mkfifo ${guest}/a && stat -c %F ${guest}/a`)
  return {
    observed: statSync(join(host, 'a')).isFIFO() ? seen : `${seen}, on the host another`,
    evidence: '',
  }
}

export const entryCases: readonly LabCase[] = [
  {
    name: 'names/seek',
    question: `of ${ENTRIES + 2} entries ${FIRST} are read, then the rest, then the rest again: entries/files/rest/equal ones`,
    shares: ['direct', 'always'],
    expected: () => {
      const rest = ENTRIES + 2 - FIRST
      return `${ENTRIES + 2}/${ENTRIES}/${rest}/${rest}`
    },
    run: seekBack,
  },
  {
    name: 'names/listing-updates',
    question: 'a size that the guest remembers > after a listing that brings a new one',
    needs: 'virtio',
    shares: ['always'],
    expected: () => '1 > 1000',
    run: listingUpdates,
  },
  {
    name: 'names/move',
    question:
      'entries of two directories that are listed, before and after a file is moved between them, and their times',
    shares: ['direct', 'always'],
    expected: () => '2 1 1 2, later, later',
    run: move,
  },
  {
    name: 'names/rename-flags',
    question: 'sizes and links of two files > exchanged by RENAME_EXCHANGE > RENAME_NOREPLACE',
    shares: ['direct', 'always'],
    expected: () => '1 1 2 1 > 0: 2 1 1 1, host 2 1 > EEXIST',
    run: renameFlags,
  },
  {
    name: 'names/xattrs',
    question: 'user.one made, made again; user.two replaced, set; read, listed, removed, read, listed',
    shares: ['names'],
    expected: () => '0, EEXIST, ENODATA, 0, first, 2: user.one user.two, 0, ENODATA, 1: user.two',
    run: xattrs,
  },
  {
    name: 'names/timeouts',
    question: 'requests for a name and a missing name that may be kept, with attributes that may not',
    shares: ['names'],
    expected: () => 'names kept, attributes not',
    run: timeouts,
  },
  {
    name: 'names/exclusive',
    question: 'O_CREAT|O_EXCL of a name that the host makes while the request is under way',
    shares: ['direct', 'always'],
    expected: () => 'EEXIST',
    run: exclusive,
  },
  {
    name: 'names/forgotten',
    question: 'the number of a file that the guest has forgotten, when it is opened again',
    needs: 'virtio',
    shares: ['always'],
    expected: () => 'another number',
    run: forgotten,
  },
  {
    name: 'names/change-time',
    question: 'the time of change of a file that is renamed, linked, changed in its mode, and loses a link',
    shares: ['direct', 'always'],
    expected: () => 'later later later later',
    run: changeTimes,
  },
  {
    name: 'names/fifo',
    question: 'a named pipe',
    shares: ['direct'],
    expected: () => 'fifo',
    run: fifo,
  },
]

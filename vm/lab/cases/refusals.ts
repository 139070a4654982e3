/** What the device refuses, lacks, or knows better than the guest. */
import { chmodSync, constants, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { expectOpcodes, told } from '../judging.js'
import { forgetsMissingNames, type GuestFacts, readsShortPagesAgain } from '../kernel-rules.js'
import type { Scene } from '../scene.js'

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9
const USER = 1000
const RENAME_EXCHANGE = 2
const SEEK_HOLE = 4

/** A truncate fails while pages are dirty. They can still be written back. */
async function failedTruncate(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(2 * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`write f ${PAGE} 0 ${NEW}`)
  await scene.fault(file, 'SETATTR', { errno: 'ENOSPC' })
  const refused = told(await actor.attempt('truncate f 100'))
  await scene.holdNothing()
  await actor.do(`write f ${PAGE} ${PAGE} ${NEW}`)
  await actor.do('fsync f')
  scene.model(file).fill(0, 2 * PAGE, NEW)
  return { observed: refused, evidence: 'write, ftruncate, write, fsync' }
}

/** Requests that the device lacks: the guest asks once, and then does without. */
async function missing(scene: Scene): Promise<Observation> {
  await scene.remount()
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  const opcodes = ['LSEEK', 'FSYNC', 'FALLOCATE', 'COPY_FILE_RANGE', 'FLUSH'] as const
  for (const opcode of [...opcodes, 'COPY_FILE_RANGE_64'])
    await scene.fault(file, opcode, { errno: 'ENOSYS' })
  const outcomes: string[] = []
  for (let round = 0; round < 2; round++) {
    await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
    for (const operation of [
      `seek f 0 ${SEEK_HOLE}`,
      'fsync f',
      `allocate f 0 0 ${2 * PAGE}`,
      `copy f f 100 0 ${PAGE - 100}`,
      'close f',
    ])
      outcomes.push(told(await actor.attempt(operation)))
  }
  await scene.holdNothing()
  await actor.leave()
  // The guest's kernel never asks again in this mount.
  await scene.remount()
  expectOpcodes(
    scene,
    opcodes.map((name) => Opcode[name]),
    opcodes.join(' '),
  )
  return { observed: outcomes.join(' '), evidence: 'lseek, fsync, fallocate, copy_file_range, close, twice' }
}

/** A share is unmounted, and mounted again. */
async function unmount(scene: Scene): Promise<Observation> {
  await scene.remount()
  scene.judgeAllRequests((requests) => {
    const seen = requests
      .map(({ request }) => request.opcode)
      .filter((opcode) => opcode === Opcode.DESTROY || opcode === Opcode.INIT)
      .map(opcodeName)
      .join(' ')
    return seen === 'DESTROY INIT' ? [] : [`${seen} instead of DESTROY INIT`]
  })
  return { observed: 'told', evidence: 'umount, mount' }
}

/** The device writes 1000 bytes of a page that is cached. */
async function shortCached(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`read f ${PAGE} 0`)
  await actor.do(`map m f ${PAGE} shared r`)
  await scene.fault(file, 'WRITE', { shortBytes: 1000, limit: 1 })
  const written = await actor.do(`write f ${PAGE} 0 ${NEW}`)
  scene.model(file).fill(0, 1000, NEW)
  return { observed: `${written}: ${await actor.do(`peek m ${PAGE} 0`)}`, evidence: '' }
}

/** The host makes names that the guest is about to make, and that it knew to be free. Then the guest knows of them. */
async function madeMeanwhile(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory([])
  const outcomes: string[] = []
  const makings = [
    ['CREATE', 'a', `open f ${O_RDWR | O_CREAT | O_EXCL} ${guest}/a`],
    ['MKDIR', 'b', `mkdir ${guest}/b`],
  ] as const
  for (const [opcode, name, operation] of makings) {
    const actor = scene.addActor()
    await scene.hold(`${scene.file()}/${name}`, opcode)
    await actor.start(operation)
    await scene.rest(actor)
    writeFileSync(join(host, name), 'from the host')
    await scene.holdNothing()
    const [made] = await actor.join()
    const seen = await scene.guest.output(`test -e ${guest}/${name} && echo there || echo absent`)
    outcomes.push(told(made!), seen.trim())
  }
  return { observed: outcomes.join(' '), evidence: 'open with O_CREAT and O_EXCL, mkdir' }
}

const knownThen = (facts: GuestFacts): string | undefined => {
  const forgets = forgetsMissingNames(facts)
  const seen = forgets ? 'there' : 'absent'
  return forgets === undefined ? undefined : `EEXIST ${seen} EEXIST ${seen}`
}

/** The host allows what the guest remembers as forbidden: before it refuses, the guest asks. */
async function permittedByHost(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(10, FILL)
  chmodSync(scene.hostPath(file), 0o640)
  const actor = scene.addActor()
  await actor.do(`user ${USER}`)
  const open = async (): Promise<string> =>
    told(await actor.attempt(`open f ${O_RDONLY} ${scene.guestPath(file)}`))
  const refused = await open()
  chmodSync(scene.hostPath(file), 0o644)
  return { observed: `${refused} > ${await open()}`, evidence: '' }
}

/** The device says that what the guest remembers under a name is gone. Then the guest looks the name up again. */
async function stale(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await scene.guest.output(`stat ${scene.guestPath(file)}`)
  await scene.fault(file, 'OPEN', { errno: 'ESTALE', limit: 1 })
  const opened = told(await actor.attempt(`open f ${O_RDONLY} ${scene.guestPath(file)}`))
  expectOpcodes(scene, [Opcode.LOOKUP, Opcode.OPEN], 'LOOKUP OPEN LOOKUP OPEN')
  return { observed: opened, evidence: 'stat, open' }
}

/** RENAME_EXCHANGE changes both files. */
async function exchanged(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(['a', 'b'])
  const actor = scene.addActor()
  const times = async (): Promise<string[]> =>
    (await scene.guest.output(`stat -c %z ${guest}/a ${guest}/b; sleep 0.02`)).trim().split('\n')
  const [a, b] = await times()
  await actor.do(`rename ${RENAME_EXCHANGE} ${guest}/a ${guest}/b`)
  const [second, first] = await times()
  const name = (before?: string, after?: string): string => (before === after ? 'same' : 'later')
  return { observed: `${name(a, first)} ${name(b, second)}`, evidence: '' }
}

export const refusalCases: readonly LabCase[] = [
  {
    name: 'errors/truncate',
    question: 'a truncate that the device refuses while pages are dirty, and what is written back after it',
    shares: ['direct', 'auto', 'writeback'],
    expected: () => 'ENOSPC',
    run: failedTruncate,
  },
  {
    name: 'requests/missing',
    question:
      'lseek to a hole, fsync, fallocate, copy_file_range and close, twice, of a device that has no such requests',
    // Mounted again, the server on /dev/fuse is another process, and its trace begins anew.
    needs: 'virtio',
    shares: ['direct-noasync'],
    expected: () => `${PAGE} 0 EOPNOTSUPP 100 0 ${PAGE} 0 EOPNOTSUPP 100 0`,
    run: missing,
  },
  {
    name: 'requests/unmount',
    question: 'unmounted and mounted: DESTROY, and INIT',
    needs: 'virtio',
    shares: ['direct-noasync'],
    expected: () => 'told',
    run: unmount,
  },
  {
    name: 'data/short-cached',
    question: 'the device writes 1000 bytes of a cached page: a mapping of it',
    shares: ['auto', 'always'],
    expected: (facts) => {
      const again = readsShortPagesAgain(facts)
      if (again === undefined) return undefined
      return `1000: ${again ? `${NEW}x1000 ${FILL}x${PAGE - 1000}` : `${NEW}x${PAGE}`}`
    },
    run: shortCached,
  },
  {
    name: 'names/made-meanwhile',
    question: 'names that the host makes while the guest makes them: a file, and a directory',
    shares: ['names'],
    expected: knownThen,
    run: madeMeanwhile,
  },
  {
    name: 'names/permitted-by-host',
    question: 'opened by a user: mode 640 > after the host has made it 644, which the guest does not know',
    shares: ['direct', 'always'],
    expected: () => 'EACCES > 0',
    run: permittedByHost,
  },
  {
    name: 'names/stale',
    question: 'opened by a name that the guest remembers for a day, when the device says ESTALE once',
    shares: ['always'],
    expected: () => '0',
    run: stale,
  },
  {
    name: 'names/exchanged',
    question: 'times of change of two files whose names are exchanged',
    shares: ['direct', 'always'],
    expected: () => 'later later',
    run: exchanged,
  },
]

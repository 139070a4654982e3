/** Who asks: user, group, process, and the groups that count. What the device drops for a user. */
import { chmodSync, chownSync, constants, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FUSE_OPEN_KILL_SUIDGID, FUSE_WRITE_KILL_SUIDGID, Opcode } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { expectRequest, told } from '../judging.js'
import { tellsGroup } from '../kernel-rules.js'
import type { Scene } from '../scene.js'
import { attributesExpire } from './cache.js'

const { O_CREAT, O_RDWR, O_TRUNC, O_WRONLY } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9
const [USER, GROUP, OTHER_GROUP] = [1000, 1001, 1002]

/** A user makes a file in a directory of everybody. */
async function maker(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory([])
  chmodSync(host, 0o777)
  const actor = scene.addActor()
  const pid = await actor.do('pid')
  await actor.do(`user ${USER} ${GROUP}`)
  await actor.do(`open f ${O_RDWR | O_CREAT} ${guest}/a`)
  expectRequest(
    scene,
    'CREATE of the process',
    (request) => request.opcode === Opcode.CREATE && request.pid === pid,
  )
  const { uid, gid } = statSync(join(host, 'a'))
  return { observed: `${uid} ${gid}`, evidence: `process ${pid}` }
}

/** A user makes a set-group-id file in a directory of another group of hers, which passes its group on. */
async function memberOfGroup(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory([])
  chownSync(host, 0, OTHER_GROUP)
  chmodSync(host, 0o2775)
  const actor = scene.addActor()
  await actor.do(`user ${USER} ${GROUP} ${OTHER_GROUP}`)
  const made = told(await actor.attempt(`make f 2755 ${guest}/a`))
  const { gid, mode } = statSync(join(host, 'a'))
  return { observed: `${made}, ${gid} ${(mode & 0o7777).toString(8)}`, evidence: '' }
}

/** The host makes a setuid file of a name that a user is about to make with O_TRUNC. */
async function truncatingCreate(scene: Scene): Promise<Observation> {
  const { host, guest } = scene.makeDirectory([])
  chmodSync(host, 0o777)
  const actor = scene.addActor()
  await actor.do(`user ${USER}`)
  await scene.hold(`${scene.file()}/a`, 'CREATE')
  await actor.start(`open f ${O_RDWR | O_CREAT | O_TRUNC} ${guest}/a`)
  await scene.rest(actor)
  writeFileSync(join(host, 'a'), 'from the host')
  chmodSync(join(host, 'a'), 0o4777)
  await scene.holdNothing()
  const [opened] = await actor.join()
  expectRequest(
    scene,
    'CREATE with KILL_SUIDGID',
    ({ opcode, detailFlags }) => opcode === Opcode.CREATE && (detailFlags & FUSE_OPEN_KILL_SUIDGID) !== 0,
  )
  const mode = (statSync(join(host, 'a')).mode & 0o7777).toString(8)
  return { observed: told(opened!) === '0' ? mode : told(opened!), evidence: '' }
}

/** With write-back, a user writes to a setuid file, and to one that the host has made setuid a moment ago. */
async function writtenBack(scene: Scene): Promise<Observation> {
  const [known, unknown] = ['-known', '-unknown'].map((suffix) => scene.makeFile(PAGE, FILL, suffix)) as [
    string,
    string,
  ]
  chmodSync(scene.hostPath(known), 0o4777)
  chmodSync(scene.hostPath(unknown), 0o777)
  const actor = scene.addActor()
  await actor.do(`user ${USER}`)
  for (const [name, file] of [
    ['k', known],
    ['u', unknown],
  ])
    await actor.do(`open ${name} ${O_WRONLY} ${scene.guestPath(file!)}`)
  chmodSync(scene.hostPath(unknown), 0o4777)
  await attributesExpire(scene)
  for (const [name, file] of [
    ['k', known],
    ['u', unknown],
  ] as const) {
    await actor.do(`write ${name} 100 0 ${NEW}`)
    await actor.do(`close ${name}`)
    scene.model(file).fill(0, 100, NEW)
    expectRequest(
      scene,
      `WRITE of ${file} with KILL_SUIDGID`,
      ({ opcode, path, detailFlags }) =>
        opcode === Opcode.WRITE && path === file && (detailFlags & FUSE_WRITE_KILL_SUIDGID) !== 0,
    )
  }
  const modes = [known, unknown].map((file) => (statSync(scene.hostPath(file)).mode & 0o7777).toString(8))
  return { observed: modes.join(' '), evidence: 'modes on the host' }
}

/** The host changes a file within the second of its last change. */
async function sameSecond(scene: Scene): Promise<Observation> {
  const [before, after] = [1_000_000_000.25, 1_000_000_000.5]
  const file = scene.makeFile(PAGE, FILL)
  const host = scene.hostPath(file)
  utimesSync(host, before, before)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`read f ${PAGE} 0`)
  writeFileSync(host, Buffer.alloc(PAGE, NEW))
  utimesSync(host, after, after)
  scene.model(file).fill(0, PAGE, NEW)
  await attributesExpire(scene)
  return { observed: `${await actor.do(`read f ${PAGE} 0`)}`, evidence: '' }
}

export const identityCases: readonly LabCase[] = [
  {
    name: 'requests/maker',
    question:
      "a file that a user of another group's number makes: its owner and group, and the process in CREATE",
    shares: ['direct', 'always'],
    expected: () => `${USER} ${GROUP}`,
    run: maker,
  },
  {
    name: 'requests/group',
    question:
      'a set-group-id file that a user makes in a directory of another group of the user: its group and mode',
    needs: 'virtio',
    shares: ['direct', 'always'],
    expected: (facts) => (tellsGroup(facts) ? `0, ${OTHER_GROUP} 2755` : undefined),
    run: memberOfGroup,
  },
  {
    name: 'requests/kill-suidgid-create',
    question: 'opened by a user with O_CREAT and O_TRUNC, while the host makes it, setuid: its mode',
    shares: ['direct'],
    expected: () => '777',
    run: truncatingCreate,
  },
  {
    name: 'requests/kill-suidgid-written-back',
    question: 'a setuid file, and one that the host has made setuid, to which a user writes: their modes',
    shares: ['writeback'],
    expected: () => '777 777',
    run: writtenBack,
  },
  {
    name: 'cache/same-second',
    question: 'changed on the host, within the second of its last change, while it is open',
    shares: ['direct', 'auto', 'keep'],
    expected: () => `${NEW}x${PAGE}`,
    run: sameSecond,
  },
]

/** Flags of requests that tell the device whose they are, and the kinds of requests of a listing. */
import { constants } from 'node:fs'
import {
  FUSE_GETATTR_FH,
  FUSE_READ_LOCKOWNER,
  FUSE_WRITE_LOCKOWNER,
  Opcode,
  opcodeName,
} from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { expectRequest, expectRequests } from '../judging.js'
import type { Scene } from '../scene.js'

const { O_APPEND, O_RDWR, O_WRONLY } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9

/** Direct reads and writes say whose locks count. */
async function lockOwner(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`read f ${PAGE} 0`)
  await actor.do(`write f ${PAGE} 0 ${NEW}`)
  scene.model(file).fill(0, PAGE, NEW)
  const flags: Readonly<Record<number, number>> = {
    [Opcode.READ]: FUSE_READ_LOCKOWNER,
    [Opcode.WRITE]: FUSE_WRITE_LOCKOWNER,
  }
  expectRequests(
    scene,
    ({ opcode, sizeBytes }) => flags[opcode] !== undefined && sizeBytes === PAGE,
    ({ opcode, detailFlags }) =>
      `${opcodeName(opcode)}:${(detailFlags & flags[opcode]!) === 0 ? 'nobody' : 'owner'}`,
    'READ:owner WRITE:owner',
  )
  return { observed: 'told', evidence: 'read, write' }
}

/** RELEASE has the flags of its OPEN. */
async function release(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  const interesting = O_APPEND | O_WRONLY | O_RDWR
  const opens = [O_RDWR, O_WRONLY | O_APPEND]
  for (const flags of opens) {
    await actor.do(`open f ${flags} ${scene.guestPath(file)}`)
    await actor.do('close f')
  }
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.RELEASE,
    ({ flags }) => `0x${(flags & interesting).toString(16)}`,
    opens.map((flags) => `0x${flags.toString(16)}`).join(' '),
  )
  return { observed: 'as opened', evidence: 'O_RDWR, O_WRONLY|O_APPEND' }
}

/** lseek from the end asks for the size of the open file, which may have no name any more. */
async function seekEnd(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do('seek f 0 2')
  expectRequest(
    scene,
    'GETATTR of the handle',
    ({ opcode, detailFlags, handle }) =>
      opcode === Opcode.GETATTR && (detailFlags & FUSE_GETATTR_FH) !== 0 && handle !== 0,
  )
  return { observed: 'by the handle', evidence: 'lseek' }
}

/** The first request of a listing asks for attributes, too. */
async function list(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory(['a', 'b', 'c'])
  await scene.guest.output(`ls ${guest}; ls ${guest}`)
  expectRequests(
    scene,
    ({ opcode, offsetBytes }) =>
      (opcode === Opcode.READDIR || opcode === Opcode.READDIRPLUS) && offsetBytes === 0,
    ({ opcode }) => opcodeName(opcode),
    scene.share === 'always' ? 'READDIRPLUS' : 'READDIRPLUS READDIRPLUS',
  )
  return { observed: 'with attributes', evidence: 'ls, ls' }
}

export const requestFlagCases: readonly LabCase[] = [
  {
    name: 'requests/lock-owner',
    question: 'the owner of locks in READ and WRITE of a direct file',
    shares: ['direct', 'parallel'],
    expected: () => 'told',
    run: lockOwner,
  },
  {
    name: 'requests/release',
    question: 'flags of RELEASE',
    // On /dev/fuse the guest does not wait for it.
    needs: 'virtio',
    shares: ['direct', 'auto'],
    expected: () => 'as opened',
    run: release,
  },
  {
    name: 'requests/seek-end',
    question: 'GETATTR of lseek from the end',
    shares: ['direct', 'parallel'],
    expected: () => 'by the handle',
    run: seekEnd,
  },
  {
    name: 'requests/list',
    question: 'a directory that is listed twice',
    needs: 'virtio',
    shares: ['auto', 'always'],
    expected: () => 'with attributes',
    run: list,
  },
]

/** Write-back: the data that the guest keeps, and the requests that must come before others. */
import { constants, statSync, utimesSync } from 'node:fs'
import { FATTR_ATIME, Opcode } from 'virtio-fs-ts/protocol'
import type { TracedRequest } from '../../../src/inspect/trace-format.js'
import type { Actor } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { expectRisingWrites } from '../judging.js'
import type { Scene } from '../scene.js'
import { attributesExpire } from './cache.js'

const { O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9
const [KEEP_SIZE, PUNCH_HOLE] = [1, 2]
/** 2001-09-09. */
const LONG_AGO = 1_000_000_000

async function dirty(scene: Scene, pages: number): Promise<{ file: string; actor: Actor }> {
  const file = scene.makeFile(pages * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`write f ${pages * PAGE} 0 ${NEW}`)
  scene.model(file).fill(0, pages * PAGE, NEW)
  return { file, actor }
}

/** Adds a fault unless a WRITE came before the first request like this. */
function expectWriteBefore(scene: Scene, what: string, isIt: (request: TracedRequest) => boolean): void {
  scene.judgeRequests((requests) => {
    const write = requests.findIndex(({ request }) => request.opcode === Opcode.WRITE)
    const other = requests.findIndex(({ request }) => isIt(request))
    if (other < 0) return [`no ${what}`]
    return write >= 0 && write < other ? [] : [`${what} before the WRITE`]
  })
}

/** Sets the times of a file that has dirty pages: the WRITE that comes later must not change them again. */
async function setTimes(scene: Scene): Promise<Observation> {
  const { file, actor } = await dirty(scene, 1)
  await actor.do(`settimes f ${LONG_AGO}`)
  const inGuest = await actor.do('mtime f')
  await actor.do('close f')
  expectWriteBefore(
    scene,
    'SETATTR of the times',
    ({ opcode, detailFlags }) => opcode === Opcode.SETATTR && (detailFlags & FATTR_ATIME) !== 0,
  )
  return { observed: `${inGuest}, host ${statSync(scene.hostPath(file)).mtimeMs / 1000}`, evidence: '' }
}

/** The host changes the time of a file that the guest has written: the guest goes by its own. */
async function ownTime(scene: Scene): Promise<Observation> {
  const { file, actor } = await dirty(scene, 1)
  await actor.do('fsync f')
  utimesSync(scene.hostPath(file), LONG_AGO, LONG_AGO)
  await attributesExpire(scene)
  const seconds = await actor.do('mtime f')
  return { observed: seconds === LONG_AGO ? "the host's" : 'its own', evidence: `${seconds}` }
}

/** Punches a hole that begins and ends within dirty pages. */
async function punchDirty(scene: Scene): Promise<Observation> {
  const { file, actor } = await dirty(scene, 4)
  await actor.do(`allocate f ${KEEP_SIZE | PUNCH_HOLE} ${PAGE / 2} ${2 * PAGE}`)
  scene.model(file).fill(PAGE / 2, 2 * PAGE, 0)
  const seen = await actor.do(`read f ${4 * PAGE} 0`)
  await actor.do('fsync f')
  expectWriteBefore(scene, 'FALLOCATE', ({ opcode }) => opcode === Opcode.FALLOCATE)
  const right = seen === `${NEW}x${PAGE / 2} 0x${2 * PAGE} ${NEW}x${1.5 * PAGE}`
  return { observed: right ? 'after the write-back' : `${seen}`, evidence: '' }
}

/** syncfs writes back and then has the device synchronise. */
async function syncFileSystem(scene: Scene): Promise<Observation> {
  await scene.ask('fault-add', { opcodes: ['SYNCFS'], delay: { fixedMs: 0 } })
  const { file } = await dirty(scene, 2)
  await scene.guest.output(`sync -f ${scene.guestPath(file)}`)
  const [fault] = await scene.ask<{ applied: number }[]>('fault-list')
  const isWritten = scene.readFile(file).every((byte) => byte === NEW)
  return { observed: `${isWritten ? 'written' : 'not written'}, SYNCFS ${fault!.applied}`, evidence: '' }
}

/** More requests of write-back than a server on /dev/fuse lets the guest have in flight: the rest waits for its turn. */
async function inTurn(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(2 * MANY * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  for (let page = 0; page < 2 * MANY; page += 2) {
    await actor.do(`write f ${PAGE} ${page * PAGE} ${NEW}`)
    scene.model(file).fill(page * PAGE, PAGE, NEW)
  }
  await scene.holdWrites(file, 2 * MANY)
  await actor.start('fsync f')
  await scene.rest(actor)
  await scene.holdNothing()
  await actor.join()
  expectRisingWrites(scene)
  return { observed: 'in turn', evidence: `every other of ${2 * MANY} pages, fsync` }
}

const MANY = 100

export const writeBackCases: readonly LabCase[] = [
  {
    name: 'write-back/set-times',
    question: 'times that are set while pages are dirty: in the guest, and on the host after close',
    shares: ['writeback'],
    expected: () => `${LONG_AGO}, host ${LONG_AGO}`,
    run: setTimes,
  },
  {
    name: 'write-back/own-time',
    question: "whose time a file has that the guest has written, after the host's has changed",
    shares: ['writeback'],
    expected: () => 'its own',
    run: ownTime,
  },
  {
    name: 'write-back/punch',
    question: 'a hole in dirty pages: when it is punched',
    shares: ['writeback'],
    expected: () => 'after the write-back',
    run: punchDirty,
  },
  {
    name: 'write-back/syncfs',
    question: 'syncfs while pages are dirty',
    needs: 'virtio',
    shares: ['writeback'],
    expected: () => 'written, SYNCFS 1',
    run: syncFileSystem,
  },
  {
    name: 'write-back/in-turn',
    question: `${MANY} dirty pages with gaps between them: the order of their WRITEs`,
    shares: ['writeback'],
    expected: () => 'in turn',
    run: inTurn,
  },
]

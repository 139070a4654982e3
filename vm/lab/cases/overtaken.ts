/** Replies that others have overtaken: which of their attributes the guest believes. */
import { constants, linkSync, truncateSync } from 'node:fs'
import { FUSE_WRITE_CACHE, Opcode } from 'virtio-fs-ts/protocol'
import type { Actor } from '../actor.js'
import type { LabCase, Observation } from '../case.js'
import { expectOpcodes, told } from '../judging.js'
import { expiresOvertakenAttributes } from '../kernel-rules.js'
import type { Scene } from '../scene.js'

const { O_APPEND, O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9
const MANY = 1000
const HOLD_MS = 30_000
/** 2001-09-09. */
const LONG_AGO = 1_000_000_000

/** An actor that has the file open, and one that appends to it and asks about it. */
async function two(scene: Scene, file: string): Promise<[Actor, Actor]> {
  const actors: [Actor, Actor] = [scene.addActor(), scene.addActor()]
  for (const actor of actors) await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actors[1].do(`open a ${O_RDWR | O_APPEND} ${scene.guestPath(file)}`)
  return actors
}

/** The offset of the last WRITE, which is an append, shows which size the guest uses. */
function expectAppendAt(scene: Scene, offsetBytes: number): void {
  scene.judgeRequests((requests) => {
    const last = requests.filter(({ request }) => request.opcode === Opcode.WRITE).at(-1)?.request
    return last?.offsetBytes === offsetBytes
      ? []
      : [`appended at ${last?.offsetBytes} instead of ${offsetBytes}`]
  })
}

/**
 * An operation that moves the end of the file is under way when another process asks for the size. The host's size of that
 * moment may be of before or after the operation, so the guest may not keep it. Here the operation fails.
 */
async function sizeMeanwhile(
  scene: Scene,
  opcodes: readonly string[],
  operation: string,
  ofSource = false,
): Promise<Observation> {
  // Servers that open the host's file with O_APPEND write elsewhere than the guest says, so no bytes are compared.
  const file = scene.makeAnyFile(PAGE)
  const source = scene.makeFile(PAGE, FILL, '-source')
  const [worker, asker] = await two(scene, file)
  await worker.do(`open s ${O_RDWR} ${scene.guestPath(source)}`)
  // After a write the guest has no valid attributes, so fstat asks.
  await asker.do(`write f 100 0 ${NEW}`)
  for (const opcode of opcodes)
    await scene.fault(ofSource ? source : file, opcode, {
      errno: 'ENOSPC',
      hold: { until: MANY, timeoutMs: HOLD_MS },
    })
  await worker.start(operation)
  await scene.rest(worker)
  truncateSync(scene.hostPath(file), 3 * PAGE)
  const during = await asker.do('size f')
  await scene.holdNothing()
  const [outcome] = await worker.join()
  await asker.do(`write a 100 0 ${NEW}`)
  expectAppendAt(scene, PAGE)
  return { observed: told(outcome!), evidence: `size ${during} meanwhile` }
}

/** A READ ends early, but the file has grown since it was sent. */
async function shortRead(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(2 * PAGE, FILL)
  const [reader, writer] = await two(scene, file)
  await scene.fault(file, 'READ', { shortBytes: 1000, hold: { until: MANY, timeoutMs: HOLD_MS } })
  await reader.start(`read f ${PAGE} 0`)
  await scene.rest(reader)
  await writer.do(`write f ${PAGE} ${2 * PAGE} ${NEW}`)
  await scene.holdNothing()
  await reader.join()
  await writer.do(`write a 100 0 ${NEW}`)
  scene.model(file).fill(2 * PAGE, PAGE, NEW)
  scene.model(file).fill(3 * PAGE, 100, NEW)
  // The guest keeps the page that came short.
  scene.model(file).comparesGuest = false
  expectAppendAt(scene, 3 * PAGE)
  return { observed: 'ignored', evidence: 'the offset of an append afterwards' }
}

/** Attributes that were asked for before a link was removed arrive after it. The guest has to ask again. */
async function links(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const host = scene.hostPath(file)
  linkSync(host, `${host}-link`)
  const [asker, other] = await two(scene, file)
  // A LOOKUP of the name would bring newer attributes.
  await scene.guest.output(`stat ${scene.guestPath(file)}-link`)
  await other.do(`write f 100 0 ${NEW}`)
  scene.model(file).fill(0, 100, NEW)
  await scene.hold(file, 'GETATTR')
  await asker.start('size f')
  await scene.rest(asker)
  await other.do(`unlink ${scene.guestPath(file)}-link`)
  // The held reply is as it would have been before.
  linkSync(host, `${host}-link`)
  await scene.holdNothing()
  await asker.join()
  await other.do('size f')
  expectOpcodes(scene, [Opcode.GETATTR, Opcode.UNLINK], 'GETATTR UNLINK GETATTR')
  return { observed: 'asked for again', evidence: 'fstat, unlink of another name, fstat' }
}

/** Attributes that came after a change was sent are newer than the ones that come with its reply. */
async function change(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const [changer, asker] = await two(scene, file)
  await asker.do(`write f 100 0 ${NEW}`)
  scene.model(file).fill(0, 100, NEW)
  await scene.hold(file, 'SETATTR')
  await changer.start(`settimes f ${LONG_AGO}`)
  await scene.rest(changer)
  await asker.do('size f')
  await scene.holdNothing()
  await changer.join()
  await asker.do('size f')
  expectOpcodes(scene, [Opcode.GETATTR, Opcode.SETATTR], 'SETATTR GETATTR GETATTR')
  return { observed: 'asked for again', evidence: 'futimens, fstat meanwhile, fstat' }
}

/** A write into a page that is just written back: the device has to get them one after the other. */
async function writeMeanwhile(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const [mapper, writer] = await two(scene, file)
  await mapper.do(`map m f ${PAGE} shared rw`)
  await mapper.do(`poke m 100 0 ${NEW}`)
  await scene.holdWrites(file, MANY)
  // msync would hold the lock of the inode.
  await mapper.start('sync')
  await scene.rest(mapper)
  await writer.start(`write f 100 50 ${NEW + 1}`)
  await scene.rest(writer)
  const together = await scene.writesInFlight(file)
  await scene.holdNothing()
  await mapper.join()
  await writer.join()
  scene.model(file).fill(0, 50, NEW)
  scene.model(file).fill(50, 100, NEW + 1)
  scene.judgeRequests((requests) => {
    const kinds = requests
      .filter(({ request }) => request.opcode === Opcode.WRITE)
      .map(({ request }) => ((request.detailFlags & FUSE_WRITE_CACHE) === 0 ? 'through' : 'back'))
    return kinds.at(0) === 'back' && kinds.includes('through') ? [] : [`written ${kinds.join(' ')}`]
  })
  return { observed: `${together} in flight`, evidence: '' }
}

const MEANWHILE: Readonly<Record<string, (scene: Scene) => Promise<Observation>>> = {
  write: (scene) => sizeMeanwhile(scene, ['WRITE'], `write f ${PAGE} ${PAGE} ${NEW}`),
  allocate: (scene) => sizeMeanwhile(scene, ['FALLOCATE'], `allocate f 0 0 ${2 * PAGE}`),
  truncate: (scene) => sizeMeanwhile(scene, ['SETATTR'], `truncate f ${2 * PAGE}`),
  copy: (scene) =>
    sizeMeanwhile(scene, ['COPY_FILE_RANGE', 'COPY_FILE_RANGE_64'], `copy s f ${PAGE} 0 ${PAGE}`, true),
}

export const overtakenCases: readonly LabCase[] = [
  ...Object.entries(MEANWHILE).map(
    ([operation, run]): LabCase => ({
      name: `data/size-during-${operation}`,
      question: `a size that is asked for while the file grows by ${operation}, which fails: appended where`,
      // A server on /dev/fuse cannot both hold a request and fail it.
      needs: 'virtio',
      shares: ['always'],
      expected: () => 'ENOSPC',
      run,
    }),
  ),
  {
    name: 'data/late-short-read',
    question: 'a short reply to a READ that was sent before a write made the file longer',
    needs: 'virtio',
    shares: ['always'],
    expected: () => 'ignored',
    run: shortRead,
  },
  {
    name: 'names/late-links',
    question: 'attributes that were asked for before another name of the file was removed',
    shares: ['always'],
    expected: () => 'asked for again',
    run: links,
  },
  {
    name: 'names/late-change',
    question: 'attributes that come with a change, when newer ones have come before',
    shares: ['always'],
    expected: (facts) => (expiresOvertakenAttributes(facts) ? 'asked for again' : undefined),
    run: change,
  },
  {
    name: 'data/write-waits',
    question: 'a write while its page, which a mapping has changed, is written back',
    shares: ['auto', 'always'],
    expected: () => '1 in flight',
    run: writeMeanwhile,
  },
]

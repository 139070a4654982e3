/** Calls that few programs use: attributes of chattr, poll, vectors, O_TMPFILE, device nodes, syncfs. */
import { constants, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { expectOpcodes, expectRequests, told } from '../judging.js'
import type { Scene } from '../scene.js'

const { O_CREAT, O_DIRECT, O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const NEW = 9
/** linux/falloc.h */
const COLLAPSE_RANGE = 8
/** FS_NODUMP_FL of linux/fs.h. */
const NO_DUMP = 0x40

/** The attribute "no dump" of chattr. Undefined where the host's file system has none. */
async function fileFlags(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  const set = told(await actor.attempt(`setflags f ${NO_DUMP}`))
  if (set === 'EOPNOTSUPP' || set === 'ENOTTY') return { observed: undefined, evidence: set }
  const flags = Number(await actor.do('flags f'))
  return { observed: `${set}, ${(flags & NO_DUMP) === 0 ? 'none' : 'no dump'}`, evidence: `${flags}` }
}

/** Undefined where the lab may not make device nodes. */
async function deviceNode(scene: Scene): Promise<Observation> {
  if (process.getuid!() !== 0) return { observed: undefined, evidence: 'needs root' }
  const { host, guest } = scene.makeDirectory([])
  const seen = await scene.words(`mknod ${guest}/null c 1 3 && stat -c '%t %T' ${guest}/null`)
  return { observed: `${seen}, host ${statSync(join(host, 'null')).rdev.toString(16)}`, evidence: '' }
}

/** The events of poll, twice, in a new session: the device does not have this request, so the guest asks once. */
async function poll(scene: Scene): Promise<Observation> {
  await scene.remount()
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  const events = [await actor.do('poll f'), await actor.do('poll f')]
  return { observed: events.join(' '), evidence: 'POLLIN is 1, POLLOUT is 4' }
}

/** A mode of fallocate that would move what is cached. */
async function collapse(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(4 * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`read f ${4 * PAGE} 0`)
  const outcome = told(await actor.attempt(`allocate f ${COLLAPSE_RANGE} 0 ${PAGE}`))
  expectOpcodes(scene, [Opcode.FALLOCATE], '')
  return { observed: outcome, evidence: '' }
}

/** Parts of memory that are neighbours in the file. */
async function vector(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(4 * PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR | O_DIRECT} ${scene.guestPath(file)}`)
  const written = await actor.do(`vector f 4 ${PAGE} 0 ${NEW}`)
  scene.model(file).fill(0, 4 * PAGE, NEW)
  expectRequests(
    scene,
    ({ opcode }) => opcode === Opcode.WRITE,
    ({ sizeBytes, offsetBytes }) => `${sizeBytes}@${offsetBytes}`,
    `${4 * PAGE}@0`,
  )
  return { observed: `${written}`, evidence: 'pwritev of four pages' }
}

/** syncfs while a WRITE of write-back is in flight: the host has to have it before it synchronises. */
async function syncfsWaits(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  await actor.do(`write f ${PAGE} 0 ${NEW}`)
  scene.model(file).fill(0, PAGE, NEW)
  await scene.ask('fault-add', { opcodes: ['SYNCFS'], delay: { fixedMs: 0 } })
  await scene.holdWrites(file, 2)
  await actor.start('syncfs f')
  await scene.writeInFlight(file)
  await scene.rest(actor)
  const [early] = await scene.ask<{ applied: number }[]>('fault-list')
  await scene.release()
  await actor.join()
  const [late] = await scene.ask<{ applied: number }[]>('fault-list')
  return { observed: `${early!.applied} > ${late!.applied}`, evidence: 'SYNCFS before and after the WRITE' }
}

/** The host has cut a file from which the guest copies as much as it knows. */
async function copyCutShort(scene: Scene): Promise<Observation> {
  const [source, target] = [scene.makeFile(2 * PAGE, NEW, '-source'), scene.makeFile(0)]
  const actor = scene.addActor()
  for (const [name, file] of [
    ['s', source],
    ['f', target],
  ] as const)
    await actor.do(`open ${name} ${O_RDWR} ${scene.guestPath(file)}`)
  truncateSync(scene.hostPath(source), 1000)
  scene.model(source).resize(1000)
  scene.model(source).comparesGuest = false
  const copied = await actor.do(`copy s f ${2 * PAGE} 0 0`)
  scene.model(target).fill(0, 1000, NEW)
  return { observed: `${copied}, size ${await actor.do('size f')}`, evidence: '' }
}

/** Undefined where the host's file system has no O_TMPFILE. */
async function temporaryFile(scene: Scene): Promise<Observation> {
  const { guest } = scene.makeDirectory([])
  const made = told(await scene.addActor().attempt(`tmpfile 666 ${guest}`))
  return { observed: made === 'EOPNOTSUPP' ? undefined : made, evidence: 'mode and links' }
}

/** More than a pipe holds, so that splice writes several times. */
async function spliceThrough(scene: Scene): Promise<Observation> {
  const file = scene.makeFile(PAGE, FILL)
  const sizeBytes = 64 * PAGE
  const actor = scene.addActor()
  await actor.do(`open t ${O_RDWR | O_CREAT} /tmp/lab-splice-source`)
  await actor.do(`write t ${sizeBytes} 0 ${NEW}`)
  await actor.do(`open f ${await scene.openFlags('passthrough')} ${scene.guestPath(file)}`)
  const moved = await actor.do(`splice t f ${sizeBytes} 0 0`)
  const size = await actor.do('size f')
  await actor.do('close f')
  scene.model(file).fill(0, sizeBytes, NEW)
  return { observed: `${moved}, size ${size}`, evidence: '' }
}

export const interfaceCases: readonly LabCase[] = [
  {
    name: 'requests/file-flags',
    question: 'FS_IOC_SETFLAGS of "no dump", and the flags after it',
    needs: 'virtio',
    shares: ['auto'],
    expected: () => '0, no dump',
    run: fileFlags,
  },
  {
    name: 'requests/vector',
    question: 'WRITEs of a pwritev of four pages: bytes',
    shares: ['direct', 'auto'],
    expected: () => `${4 * PAGE}`,
    run: vector,
  },
  {
    name: 'names/device',
    question: 'the number of a device node, in the guest and on the host',
    shares: ['direct'],
    expected: () => '1 3, host 103',
    run: deviceNode,
  },
  {
    name: 'names/tmpfile',
    question: 'a file of O_TMPFILE, asked for with mode 666: mode and links',
    needs: 'virtio',
    shares: ['direct'],
    expected: () => '644 0',
    run: temporaryFile,
  },
  {
    name: 'data/poll',
    question: 'poll of a regular file, twice',
    needs: 'virtio',
    shares: ['direct-noasync'],
    expected: () => '5 5',
    run: poll,
  },
  {
    name: 'data/collapse',
    question: 'fallocate with FALLOC_FL_COLLAPSE_RANGE',
    shares: ['auto'],
    expected: () => 'EOPNOTSUPP',
    run: collapse,
  },
  {
    name: 'data/copy-cut-short',
    question: 'copy_file_range from a file that the host has cut: bytes, and the size of the target',
    shares: ['direct', 'writeback'],
    expected: () => '1000, size 1000',
    run: copyCutShort,
  },
  {
    name: 'write-back/syncfs-waits',
    question: 'SYNCFS while a WRITE is in flight > when it has been answered',
    needs: 'virtio',
    shares: ['writeback'],
    expected: () => '0 > 1',
    run: syncfsWaits,
  },
  {
    name: 'passthrough/splice',
    question:
      'splice of more than a pipe holds to a file that is open for passthrough: bytes, and the size after it',
    shares: ['passthrough'],
    expected: ({ passthrough: has }) => (has === true ? `${64 * PAGE}, size ${64 * PAGE}` : undefined),
    run: spliceThrough,
  },
]

/** The guest's reaction to a device that lacks a request, or that breaks the protocol. */
import { constants } from 'node:fs'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import { asksCopyRange64, checksReplies, type GuestFacts } from '../kernel-rules.js'
import type { Scene } from '../scene.js'

const { O_RDONLY, O_RDWR } = constants
const PAGE = 4096
const FILL = 7
const THEN = ' > '

/** Copies three times. Before the second time the device forgets FUSE_COPY_FILE_RANGE_64. */
async function copyRange(scene: Scene): Promise<Observation> {
  await scene.remount()
  const source = scene.makeFile(PAGE, FILL, '-source')
  const file = scene.makeFile(3 * PAGE, 1)
  const actor = scene.addActor()
  await actor.do(`open s ${O_RDONLY} ${scene.guestPath(source)}`)
  await actor.do(`open f ${O_RDWR} ${scene.guestPath(file)}`)
  const copied: (number | string)[] = []
  for (let n = 0; n < 3; n++) {
    if (n === 1) await scene.fault('**', 'COPY_FILE_RANGE_64', { errno: 'ENOSYS' })
    copied.push(await actor.do(`copy s f ${PAGE} 0 ${n * PAGE}`))
    scene.model(file).fill(n * PAGE, PAGE, FILL)
  }
  await scene.holdNothing()
  await actor.leave()
  // The guest's kernel never asks again in this mount.
  await scene.remount()
  const asked = asksCopyRange64(scene.facts) ? 'new, new old, old' : 'old, old, old'
  scene.judgeRequests((requests) => {
    const names: Readonly<Record<number, string>> = {
      [Opcode.COPY_FILE_RANGE]: 'old',
      [Opcode.COPY_FILE_RANGE_64]: 'new',
    }
    const seen = requests.flatMap(({ request }) => names[request.opcode] ?? [])
    const expected = asked.replaceAll(',', '').split(' ')
    return seen.join() === expected.join() ? [] : [`${seen.join(' ')} instead of ${expected.join(' ')}`]
  })
  return { observed: asked, evidence: `copied ${copied.join(', ')} bytes` }
}

/** Kinds of broken replies: see `virtiofsd-ts ctl fault`. */
const BROKEN = ['unique', 'length', 'positive-error', 'error-with-data', 'no-data'] as const

/** Sends one broken reply to fstat, and returns what fstat returned. */
async function breakReply(scene: Scene, violation: string, suffix = ''): Promise<string> {
  const file = scene.makeFile(PAGE, FILL, `-${violation}${suffix}`)
  const actor = scene.addActor()
  await actor.do(`open f ${O_RDONLY} ${scene.guestPath(file)}`)
  await scene.fault(file, 'GETATTR', { violation, limit: 1 })
  const outcome = await actor.attempt('size f')
  await scene.holdNothing()
  return 'error' in outcome ? outcome.error : `${outcome.value}`
}

/** Finds out if the guest's driver compares replies with requests: no version says so. A wrong unique does no harm. */
async function probeReplies(scene: Scene): Promise<Partial<GuestFacts>> {
  scene.allowTrouble(/virtio-fs: oh\.unique mismatch/)
  return { refusesWrongUnique: (await breakReply(scene, 'unique', '-probe')) === 'EIO' }
}

/** A driver that checks nothing is not given what may harm it. */
async function brokenReplies(scene: Scene): Promise<Observation> {
  scene.allowTrouble(/virtio-fs: (oh\.|invalid|response too|error response)/)
  const kinds = checksReplies(scene.facts) ? BROKEN : BROKEN.slice(0, 1)
  const outcomes: string[] = []
  for (const kind of kinds) outcomes.push(await breakReply(scene, kind))
  return { observed: outcomes.join(THEN), evidence: kinds.join(THEN) }
}

export const protocolCases: readonly LabCase[] = [
  {
    name: 'requests/copy-range',
    // Mounted again, the server on /dev/fuse is another process, and its trace begins anew.
    needs: 'virtio',
    question:
      'requests of copy_file_range (FUSE_COPY_FILE_RANGE_64: new): at first, after ENOSYS to the new one, then',
    shares: ['direct-noasync'],
    expected: (facts) => (asksCopyRange64(facts) ? 'new, new old, old' : 'old, old, old'),
    run: copyRange,
  },
  {
    name: 'replies/broken',
    question:
      "fstat answered with another request's unique > a wrong length > a positive error > an error and attributes > nothing",
    needs: 'virtio',
    shares: ['direct'],
    probe: probeReplies,
    expected: (facts) => (checksReplies(facts) ? 'EIO > EIO > EIO > EIO > EIO' : `${PAGE}`),
    run: brokenReplies,
  },
]

/** Listings that the guest caches: FOPEN_CACHE_DIR and FOPEN_KEEP_CACHE in the reply to OPENDIR. */
import { utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Opcode } from 'virtio-fs-ts/protocol'
import type { LabCase, Observation } from '../case.js'
import type { ShareName } from '../option-sets.js'
import type { Scene } from '../scene.js'
import { attributesExpire } from './cache.js'

const SHARES: readonly ShareName[] = ['direct', 'metadata', 'auto', 'always']
const CACHED: ReadonlySet<string> = new Set(['metadata', 'always'])
const ENTRIES = 5

/** Lists a directory twice, and a third time after `change`. Returns the listed names of the third time. */
async function listAgain(
  scene: Scene,
  change: (scene: Scene, host: string) => Promise<void>,
): Promise<Observation> {
  const { host, guest } = scene.makeDirectory(Array.from({ length: ENTRIES }, (_, n) => `entry-${n}`))
  const list = async (): Promise<number> => Number(await scene.guest.output(`ls ${guest} | wc -l`))
  const counts = [await list(), await list()]
  await change(scene, host)
  counts.push(await list())
  scene.judgeRequests((requests) => {
    const opcodes = requests.map(({ request }) => request.opcode)
    const lists = splitAt(opcodes, Opcode.OPENDIR).map(
      (part) => part.filter((opcode) => opcode === Opcode.READDIR || opcode === Opcode.READDIRPLUS).length,
    )
    const read = lists.map((count) => (count > 0 ? 'read' : 'kept')).join(' > ')
    const expected = CACHED.has(scene.share) ? 'read > kept > kept' : 'read > read > read'
    return read === expected ? [] : [`${read} instead of ${expected}`]
  })
  return { observed: counts.join(' > '), evidence: '' }
}

/** Cuts a list before each element that equals `first`. What stands before the first one is left out. */
function splitAt(list: readonly number[], first: number): number[][] {
  const parts: number[][] = []
  for (const element of list) {
    if (element === first) parts.push([])
    parts.at(-1)?.push(element)
  }
  return parts
}

async function changeOnHost(scene: Scene, host: string): Promise<void> {
  writeFileSync(join(host, 'new'), '')
  utimesSync(host, new Date(), new Date(Date.now() + 10_000))
  await attributesExpire(scene)
}

export const listingCases: readonly LabCase[] = [
  {
    name: 'cache/list',
    question: `entries of a directory of ${ENTRIES}: listed > again > after the host has added one`,
    shares: SHARES,
    // The cached ones keep attributes for a day, and with them the time that the listing is compared with.
    expected: ({ share }) => (CACHED.has(share) ? '5 > 5 > 5' : '5 > 5 > 6'),
    run: (scene) => listAgain(scene, changeOnHost),
  },
]

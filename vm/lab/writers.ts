import { setTimeout as sleep } from 'node:timers/promises'
import type { LoneReason } from '../../src/inspect/inode-activity.js'
import type { Actor } from './actor.js'
import { WRITERS } from './case.js'
import type { Scene } from './scene.js'

export const BLOCK_BYTES = 4096

/** The device's view of WRITERS simultaneous writes. */
export interface Together {
  /** Most writes in flight at once, from arrival to reply. */
  readonly highest: number
  /** Before the first reply: the writes in flight, and the guest kernel's functions in which their threads slept. */
  readonly inFlight: number
  readonly waiting: Readonly<Record<string, number>>
  /** The device's reasons for writes that came alone. */
  readonly reasons: Readonly<Partial<Record<LoneReason, number>>>
}

export interface WriteOptions {
  /** Default `write`: synchronous. */
  operation?: 'write' | 'aio' | 'uring' | 'append' | undefined
  /** Offset of the first block. Each writer gets the next block. Default 0. */
  offsetBytes?: number
  /** Distance between block starts. Default BLOCK_BYTES. 0: all write the same bytes to one place. */
  strideBytes?: number
  /** The file is open with O_APPEND, or the writes have RWF_APPEND, so offsets are ignored. */
  appends?: boolean
}

/** The guest's kernel lacks a system call that the writers need. */
export class MissingCall extends Error {
  override readonly name = 'MissingCall'
}

/** A thread of the guest is stuck although nothing is in flight. */
export class Stuck extends Error {
  override readonly name = 'Stuck'
}

/** Rounds without progress before the run counts as stuck. */
const IDLE_ROUNDS = 60
const IDLE_ROUND_MS = 20

/**
 * WRITERS threads write one block each, behind a gate that opens for all of them together. If the guest comes to rest
 * before, its kernel sends no more at once, and the held requests are released. No verdict depends on time.
 */
export async function writeTogether(
  scene: Scene,
  actor: Actor,
  handle: string,
  file: string,
  { operation = 'write', offsetBytes = 0, strideBytes = BLOCK_BYTES, appends = false }: WriteOptions = {},
): Promise<Together> {
  const model = scene.model(file)
  const startBytes = appends ? scene.readFile(file).length : offsetBytes
  const byteOf = (n: number): number => (strideBytes === 0 ? 1 : n + 1)
  for (let n = 0; n < WRITERS; n++) {
    const block = Buffer.alloc(BLOCK_BYTES, byteOf(n))
    if (appends) model.append(block)
    else model.put(offsetBytes + n * strideBytes, block)
    model.expectWrite(startBytes + n * strideBytes, BLOCK_BYTES)
  }
  await scene.resetCounts()
  await scene.holdWrites(file, WRITERS)
  for (let n = 0; n < WRITERS; n++) {
    await actor.start(`${operation} ${handle} ${BLOCK_BYTES} ${offsetBytes + n * strideBytes} ${byteOf(n)}`)
  }
  return finishTogether(scene, actor, file)
}

/** The second half. The caller has started the writers with a hold on the file's WRITEs. */
export async function finishTogether(scene: Scene, actor: Actor, file: string): Promise<Together> {
  const first = await finishWriters(scene, actor, file)
  await scene.holdNothing()
  const { highestOverlap, loneWrites } = await scene.counts(file)
  return { highest: highestOverlap, ...first, reasons: loneWrites }
}

/** Releases the held requests again and again until all writers have ended. */
async function finishWriters(
  scene: Scene,
  actor: Actor,
  file: string,
): Promise<Pick<Together, 'inFlight' | 'waiting'>> {
  let first: Pick<Together, 'inFlight' | 'waiting'> | undefined
  let replied = 0
  for (let idle = 0; ; ) {
    const { ended, waiting } = await scene.rest(actor, replied)
    if (ended === WRITERS) break
    if (idle === IDLE_ROUNDS)
      throw new Stuck(`${WRITERS - ended} of ${WRITERS} writers hang; ${describeWaits(waiting)}`)
    const inFlight = await scene.writesInFlight(file)
    if (inFlight > 0) first ??= { inFlight, waiting }
    const released = await scene.release()
    replied += released
    idle = released > 0 ? 0 : idle + 1
    if (released === 0) await sleep(IDLE_ROUND_MS)
  }
  for (const outcome of await actor.join()) {
    if ('error' in outcome && outcome.error === 'ENOSYS') throw new MissingCall()
    if (!('value' in outcome) || outcome.value !== BLOCK_BYTES)
      throw new Error(`a write ended with ${JSON.stringify(outcome)}`)
  }
  return first ?? { inFlight: WRITERS, waiting: {} }
}

/** The state before the first reply, and the device's reasons: "1 in flight; asleep in fuse_file_write_iter (7), ...". */
export function describeTogether({ highest, inFlight, waiting, reasons }: Together): string {
  const guesses = Object.entries(reasons)
    .filter(([reason]) => reason !== 'no other writer seen')
    .map(([reason, writes]) => `${writes} alone: ${reason}`)
  return [`${Math.max(highest, inFlight)} in flight`, describeWaits(waiting), ...guesses]
    .filter((part) => part !== '')
    .join('; ')
}

/** The guest kernel's functions in which threads sleep: "asleep in fuse_file_write_iter (7), request_wait_answer (1)". */
export function describeWaits(waiting: Readonly<Record<string, number>>): string {
  const places = Object.entries(waiting)
    .sort(([, a], [, b]) => b - a)
    .map(([name, threads]) => `${name} (${threads})`)
  return places.length === 0 ? '' : `asleep in ${places.join(', ')}`
}

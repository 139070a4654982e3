import { setTimeout as sleep } from 'node:timers/promises'
import type { LoneReason } from '../../src/inspect/inode-activity.js'
import type { Actor } from './actor.js'
import { WRITERS } from './case.js'
import type { Scene } from './scene.js'

export const BLOCK_BYTES = 4096

/** How WRITERS writes at once came to the device. */
export interface Together {
  /** Most of them in flight at once, from seen on the ring to replied. */
  readonly highest: number
  /** How many were in flight, and where in the guest's kernel their threads slept, when nothing was replied yet. */
  readonly inFlight: number
  readonly waiting: Readonly<Record<string, number>>
  /** Why the device thinks that they came alone. */
  readonly reasons: Readonly<Partial<Record<LoneReason, number>>>
}

export interface WriteOptions {
  /** Default `write`: synchronous. */
  operation?: 'write' | 'aio' | 'uring' | undefined
  /** Of the first block; each writer has the next. Default 0. */
  offsetBytes?: number
  /** From the start of one block to that of the next. Default BLOCK_BYTES; 0: all write the same bytes to one place. */
  strideBytes?: number
  /** The file was opened with O_APPEND: offsets do not count. */
  appends?: boolean
}

/** The guest's kernel was built without a system call that the writers need. */
export class MissingCall extends Error {
  override readonly name = 'MissingCall'
}

/** Nothing is in flight, and yet a thread of the guest does not go on. */
export class Stuck extends Error {
  override readonly name = 'Stuck'
}

/** Rounds without progress after which something is wrong. */
const IDLE_ROUNDS = 60
const IDLE_ROUND_MS = 20

/**
 * WRITERS threads write a block each, at a gate that opens for all of them together. When the guest is at rest before
 * that, its kernel sends no more at a time, and what is held is let go: no verdict depends on time.
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

/** The second half: writers have been started, with a hold on the file's WRITEs. */
export async function finishTogether(scene: Scene, actor: Actor, file: string): Promise<Together> {
  const first = await finishWriters(scene, actor, file)
  await scene.holdNothing()
  const { highestOverlap, loneWrites } = await scene.counts(file)
  return { highest: highestOverlap, ...first, reasons: loneWrites }
}

/** Lets go what the guest has sent, time and again, until all writers have ended. */
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

/** "1 in flight; asleep in fuse_file_write_iter (7), request_wait_answer (1)": before the first reply, and the device's guess. */
export function describeTogether({ highest, inFlight, waiting, reasons }: Together): string {
  const guesses = Object.entries(reasons)
    .filter(([reason]) => reason !== 'no other writer seen')
    .map(([reason, writes]) => `${writes} alone: ${reason}`)
  return [`${Math.max(highest, inFlight)} in flight`, describeWaits(waiting), ...guesses]
    .filter((part) => part !== '')
    .join('; ')
}

/** Where in the guest's kernel threads sleep: "asleep in fuse_file_write_iter (7), request_wait_answer (1)". */
export function describeWaits(waiting: Readonly<Record<string, number>>): string {
  const places = Object.entries(waiting)
    .sort(([, a], [, b]) => b - a)
    .map(([name, threads]) => `${name} (${threads})`)
  return places.length === 0 ? '' : `asleep in ${places.join(', ')}`
}

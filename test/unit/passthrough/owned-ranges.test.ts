/** Record locks of several owners, against a model that keeps an owner and a kind for each byte. */
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import type { OpenFile } from '../../../src/passthrough/files/open-file.js'
import { NO_END, OwnedRanges } from '../../../src/passthrough/locks/owned-ranges.js'

const { F_RDLCK, F_WRLCK } = native.constants
const BYTES = 24
const OWNERS = 3
const STEPS = 4000

/** A generator of numbers that repeat from run to run. */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % below
  }
}

// Ranges compare files by identity, and do nothing with them.
const files = [{ nodeid: 1 }, { nodeid: 1 }] as unknown as readonly OpenFile[]

t.test('locks, conversions, unlocks and releases agree with a model', async (t) => {
  const below = numbers(1)
  const ranges = new OwnedRanges()
  // By owner and byte: 0, or the kind.
  const model = Array.from({ length: OWNERS }, () => new Array<number>(BYTES).fill(-1))
  const fileOf = Array.from({ length: OWNERS }, () => new Array<OpenFile | undefined>(BYTES).fill(undefined))
  const bytesFrom = (startByte: number, lastByte: number) =>
    Array.from({ length: lastByte - startByte + 1 }, (_, n) => startByte + n)
  let wrong = 0
  for (let step = 0; step < STEPS; step++) {
    const owner = below(OWNERS)
    const startByte = below(BYTES)
    const lastByte = startByte + below(BYTES - startByte)
    const bytes = bytesFrom(startByte, lastByte)
    const file = files[below(files.length)]!
    const type = below(2) === 0 ? F_RDLCK : F_WRLCK
    const range = { startByte, lastByte, ownerLow: owner, ownerHigh: 7, file, type, pid: 1 }
    const kindOfStep = below(10)
    if (kindOfStep < 6) {
      const isTaken = model.some(
        (kinds, other) =>
          other !== owner &&
          bytes.some((byte) => kinds[byte]! >= 0 && (type === F_WRLCK || kinds[byte] === F_WRLCK)),
      )
      if ((ranges.inWayOf(range) !== undefined) !== isTaken) wrong++
      if (isTaken) continue
      ranges.set(range)
      for (const byte of bytes) {
        model[owner]![byte] = type
        fileOf[owner]![byte] = file
      }
    } else if (kindOfStep < 9) {
      ranges.cut(range, range)
      for (const byte of bytes) model[owner]![byte] = -1
    } else {
      ranges.remove((other) => other.file === file)
      for (const kinds of model.keys())
        for (let byte = 0; byte < BYTES; byte++) if (fileOf[kinds]![byte] === file) model[kinds]![byte] = -1
    }
    const held = Array.from({ length: OWNERS }, () => new Array<number>(BYTES).fill(-1))
    for (const one of ranges.all())
      for (const byte of bytesFrom(one.startByte, one.lastByte)) {
        if (held[one.ownerLow]![byte] !== -1) wrong++
        held[one.ownerLow]![byte] = one.type
      }
    if (JSON.stringify(held) !== JSON.stringify(model)) wrong++
    const free = new Set(
      ranges
        .free({ startByte: 0, lastByte: BYTES - 1 })
        .flatMap((part) => bytesFrom(part.startByte, part.lastByte)),
    )
    for (let byte = 0; byte < BYTES; byte++)
      if (free.has(byte) !== model.every((kinds) => kinds[byte] === -1)) wrong++
  }
  t.equal(wrong, 0)
})

t.test('locks that touch become one, also with a range without end', async (t) => {
  const ranges = new OwnedRanges()
  const [file] = files
  const lock = (startByte: number, lastByte: number) =>
    ranges.set({ startByte, lastByte, ownerLow: 1, ownerHigh: 0, file: file!, type: F_WRLCK, pid: 1 })
  lock(0, 9)
  lock(20, NO_END)
  t.equal(ranges.count, 2)
  lock(10, 19)
  t.match(ranges.all(), [{ startByte: 0, lastByte: NO_END }])
  const owner = { ownerLow: 1, ownerHigh: 0 }
  t.ok(ranges.isInside(owner, { startByte: 5, lastByte: 5 }))
  t.notOk(ranges.isInside(owner, { startByte: 0, lastByte: 5 }))
  t.notOk(ranges.isInside({ ownerLow: 1, ownerHigh: 1 }, { startByte: 5, lastByte: 5 }))
  t.same(ranges.cut(owner, { startByte: 5, lastByte: 5 }), [{ startByte: 5, lastByte: 5 }])
  t.equal(ranges.count, 2)
})

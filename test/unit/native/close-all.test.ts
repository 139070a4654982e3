/** Many descriptors are closed without keeping the caller waiting. */
import { fstatSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'

const LIMIT_MS = 10_000

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd)
    return true
  } catch {
    return false
  }
}

for (const count of [0, 1, 512, 513, 5000])
  t.test(`${count} descriptors`, async (t) => {
    const kept = openSync('/dev/null', 'r')
    const fds = Array.from({ length: count }, () => openSync('/dev/null', 'r'))
    t.equal(native.closeAll(Int32Array.from(fds)), 0)
    const endMs = performance.now() + LIMIT_MS
    while (fds.some(isOpen) && performance.now() < endMs) await sleep(1)
    t.equal(fds.filter(isOpen).length, 0)
    t.ok(isOpen(kept))
    native.close(kept)
  })

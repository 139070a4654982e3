/** The state of a share whose session ends, or whose inodes share a number. The parts of the share are stand-ins. */
import { linkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { StateError } from 'vhost-user-ts'
import { HandleTable } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { openPath } from '../../../src/passthrough/descriptors.js'
import { NameOpener } from '../../../src/passthrough/names/name-opener.js'
import { SavedState } from '../../../src/passthrough/state/saved-state.js'
import { ShareState, type StateParts } from '../../../src/share/share-state.js'
import { INODES, InodeDecoder, type InodeRecord } from '../../../src/state/inode-records.js'
import { recordSection, sectionReader, stateStream, textSection } from '../../../src/state/sections.js'
import { ok } from '../../support/device/descriptors.js'
import { tempDir } from '../../support/host/temp-dir.js'

const META = { tag: 'META', version: 1, isRequired: true }

/** A share with a session that can end at any time. */
function shareOf() {
  const session = { agreed: undefined as object | undefined, isShut: false, wishes: {}, end: () => {} }
  const sections = [recordSection(INODES, [new Uint8Array(70_000), new Uint8Array(70_000)])]
  const passthrough = { loadState: () => ({ takers: [], close: () => {} }), savedSections: () => sections }
  const parts = { config: {}, session, passthrough, warn: () => {} } as unknown as StateParts
  return { session, state: new ShareState(parts) }
}

const META_OF_NOBODY = Uint8Array.from(
  Buffer.concat([...stateStream([textSection(META, { agreement: {}, options: {} })])]),
)

t.test('a share that is removed while a state arrives does not open its directory again', (t) => {
  const { session, state } = shareOf()
  const loader = state.load()
  session.isShut = true
  t.throws(() => loader.write(META_OF_NOBODY), { name: 'StateError', message: /removed/ })
  t.throws(() => state.load(), { name: 'StateError', message: /removed/ })
  t.end()
})

t.test('a session that ends while its state is saved leaves no state that looks whole', (t) => {
  const { session, state } = shareOf()
  const agreed = { guestFlags: 0n, flags: 0n, reply: {} }
  session.agreed = agreed
  const pieces = state.save()[Symbol.iterator]()
  t.equal(pieces.next().done, false)
  session.agreed = undefined
  t.throws(() => pieces.next(), StateError)
  t.end()
})

t.test('inodes of one number on two file systems are both saved, with a name or without', (t) => {
  const directory = tempDir(t)
  const rootFd = openPath(directory)
  const procFd = openPath('/proc/self/fd')
  const opener = new NameOpener(rootFd)
  // The kernel knows each by a name that is gone.
  const fds = ['a', 'b', 'c'].map((name) => {
    const path = join(directory, name)
    writeFileSync(path, '')
    const fd = ok(native.openat(rootFd, new TextEncoder().encode(`${name}\0`), 0, native.constants.O_PATH, 0))
    linkSync(path, `${path}-other`)
    rmSync(path)
    return fd
  })
  const { ino } = statSync(join(directory, 'b-other'), { bigint: true })
  const inodes = {
    *known() {
      yield* [2, 3, 4]
    },
    *freeSlots() {},
    typeOf: () => 8,
    identify: (slot: number, record: InodeRecord) => {
      record.type = 8
      record.slot = slot
      record.lookups = 1
      record.device = slot
      record.inoLow = Number(BigInt.asIntN(32, ino))
      record.inoHigh = Number(BigInt.asIntN(32, ino >> 32n))
    },
    fdOf: (slot: number) => fds[slot - 2],
    fds: { isPinned: () => false, keptHandle: () => undefined, isOpen: () => true },
  }
  const prepared = { *unchanged() {} }
  const share = { inodes, files: new HandleTable(), directories: new HandleTable(), opener, procFd, prepared }
  const options = { mode: 'find-paths', verifyHandles: false, confirmPaths: false, onError: 'abort' } as const
  const saved = new SavedState({ ...share, locks: { held: () => [] } } as never, rootFd, options)
  const paths = new Map<number, string | undefined>()
  const decoder = new InodeDecoder()
  const reader = sectionReader([
    {
      kind: INODES,
      take: (contents) =>
        decoder.decode(contents, ({ slot, path }) => paths.set(slot, path && Buffer.from(path).toString())),
    },
  ])
  for (const piece of stateStream(saved.sections())) reader.write(piece)
  reader.end()
  t.strictSame([...paths].sort(), [
    [2, undefined],
    [3, 'b-other'],
    [4, undefined],
  ])
  for (const fd of [...fds, procFd, rootFd]) native.close(fd)
  t.end()
})

/** A share with a quota is replaced: what it holds is handed over, and not counted anew. */
import { mkdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LiveDevice } from '../../support/device/live-device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(120_000)

const O_RDWR = 2
const QUOTA = ['--quota-bytes', '1G', '--quota-inodes', '100000']
/** More than one block of the state holds. */
const NAMELESS = 1100
/** Times of access and of change, in seconds: whoever reads the directory sets the first one anew. */
const [ATIME, MTIME] = [1000, 2000]

interface Used {
  readonly usedBytes: number
  readonly usedInodes: number
}

async function usedOf(live: LiveDevice): Promise<Used> {
  const control = await live.control()
  const { quota } = await control.ask<{ quota: Used }>('limits')
  control.socket.destroy()
  return quota
}

/** A directory with a directory in it, which shows if it was read. */
function watchedTree(t: Test) {
  const directory = tempDir(t)
  const watched = join(directory, 'watched')
  mkdirSync(watched)
  writeFileSync(join(watched, 'file'), 'contents')
  const rest = () => utimesSync(watched, ATIME, MTIME)
  rest()
  return { directory, watched, rest, wasRead: () => statSync(watched).atimeMs !== ATIME * 1000 }
}

for (const hasGuest of [true, false]) {
  t.test(`the tree is not counted again, ${hasGuest ? 'with' : 'without'} a guest`, async (t) => {
    const { directory, watched, rest, wasRead } = watchedTree(t)
    const live = await LiveDevice.start(t, QUOTA, { directory })
    if (!wasRead()) {
      t.pass('reading shows', { skip: 'times of access are not kept here' })
      return
    }
    const fs = hasGuest ? mount(t, live.device) : undefined
    fs?.mkdir(ROOT_ID, 'made')
    const before = await usedOf(live)
    // What the host makes is counted only when somebody asks for it, and the time of access tells of a count.
    writeFileSync(join(watched, 'of the host'), 'contents')
    rest()
    for (let n = 0; n < 2; n++) {
      await live.replace()
      t.match(await usedOf(live), { usedBytes: before.usedBytes, usedInodes: before.usedInodes })
      t.notOk(wasRead(), 'the directory was not read')
    }
    const control = await live.control()
    await control.ask('limits', { recount: true })
    control.socket.destroy()
    t.equal((await usedOf(live)).usedInodes, before.usedInodes + 1)
    t.ok(wasRead(), 'a count that was asked for reads it')
  })
}

t.test('a share that was not counted is counted by the process that has the quota', async (t) => {
  const { directory } = watchedTree(t)
  const live = await LiveDevice.start(t, [], { directory })
  const fs = mount(t, live.device)
  fs.mkdir(ROOT_ID, 'made')
  await live.replace({ options: QUOTA })
  t.equal((await usedOf(live)).usedInodes, 4)
  fs.mkdir(ROOT_ID, 'more')
  await live.replace()
  t.equal((await usedOf(live)).usedInodes, 5)
})

t.test('many files without a name are handed over, and their room comes back', async (t) => {
  const live = await LiveDevice.start(t, QUOTA)
  const fs = mount(t, live.device)
  const { usedInodes } = await usedOf(live)
  const files = Array.from({ length: NAMELESS }, () => fs.tmpfile(ROOT_ID, O_RDWR))
  t.equal((await usedOf(live)).usedInodes, usedInodes + NAMELESS)
  await live.replace()
  t.equal((await usedOf(live)).usedInodes, usedInodes + NAMELESS)
  for (const { nodeid, handle } of files) {
    fs.release(nodeid, handle)
    fs.forget(nodeid, 1n)
  }
  t.equal((await usedOf(live)).usedInodes, usedInodes)
})

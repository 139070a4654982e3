/** Versions of the program replace each other. Later ones are made of this one: their state or their messages differ. */
import {
  chmodSync,
  constants,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { LiveDevice } from '../../support/device/live-device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import type { FuseGuest } from '../../support/fuse/fuse-guest.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(120_000)

const { O_RDWR } = constants
// This path leads from dist/test/frontend/migration to the program. A copy beside it finds the same packages.
const DIST = fileURLToPath(new URL('../../../', import.meta.url))
const PRESENT = join(DIST, 'program')
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()
const bytesOf = (string: string) => new TextEncoder().encode(string)

/** A change of the program's text. */
interface Change {
  readonly from: string
  readonly to: string
}

/** The state of a later version begins with a section that this one does not know. */
const unknownSection = (isRequired: boolean): Change => ({
  from: 'yield MAGIC;\n    let blocks = 0;',
  to: `yield MAGIC;
    let blocks = 1;
    yield encodeBlock({ tag: 'NEWS', version: 1, isRequired: ${isRequired}, contents: new Uint8Array(5) });`,
})

const laterInodes: Change = {
  from: "{ tag: 'INOD', version: 1,",
  to: "{ tag: 'INOD', version: 2,",
}

const laterMessages: Change = {
  from: 'const SUCCESSION_VERSION = 1;',
  to: 'const SUCCESSION_VERSION = 2;',
}

/** Makes a program that differs from this one. Returns a script that runs it. */
function laterVersion(t: Test, { from, to }: Change): string {
  const directory = mkdtempSync(join(DIST, 'program-later-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  cpSync(PRESENT, directory, { recursive: true })
  const paths = filesOf(directory).filter((path) => readFileSync(path, 'utf8').includes(from))
  if (paths.length === 0) throw new Error(`the program has no longer: ${from}`)
  for (const path of paths) writeFileSync(path, readFileSync(path, 'utf8').replace(from, to))
  return scriptOf(t, directory)
}

function filesOf(directory: string): readonly string[] {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
  return names.filter((name) => name.endsWith('.js')).map((name) => join(directory, name))
}

/** Makes a script that runs the program in a directory. */
function scriptOf(t: Test, directory: string): string {
  const path = join(tempDir(t), 'run')
  writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' '${join(directory, 'main.js')}' "$@"\n`)
  chmodSync(path, 0o755)
  return path
}

/** A device with an open file that has no name, which only a hand-over can carry on. */
async function working(
  t: Test,
): Promise<{ live: LiveDevice; fs: FuseGuest; expectSame(what: string): void }> {
  const live = await LiveDevice.start(t)
  const fs = mount(t, live.device)
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.unlink(ROOT_ID, 'file')
  let written = 0
  const expectSame = (what: string) => {
    fs.write(nodeid, handle, BigInt(written), bytesOf('.'))
    t.equal(text(fs.read(nodeid, handle, 0n, 100)), '.'.repeat(++written), what)
  }
  expectSame('at first')
  return { live, fs, expectSame }
}

t.test('a section of a later version that may be skipped is skipped', async (t) => {
  const { live, expectSame } = await working(t)
  const later = laterVersion(t, unknownSection(false))
  const present = scriptOf(t, PRESENT)
  for (const program of [later, later, present, later]) {
    const { pid } = live.device
    await live.replace({ with: program })
    t.not(live.device.pid, pid)
    expectSame('by another process')
  }
})

for (const [what, change, reason] of [
  ['a section that must be known', unknownSection(true), /^the state has a section NEWS of a later version/],
  [
    'a later version of a section',
    laterInodes,
    /^section INOD has version 2, and this virtiofsd-ts reads up to 1: it is older$/,
  ],
] as const) {
  t.test(`${what} is refused, and the later version goes on`, async (t) => {
    const { live, expectSame } = await working(t)
    await live.replace({ with: laterVersion(t, change) })
    expectSame('by the later version')
    const { pid } = live.device
    const present = scriptOf(t, PRESENT)
    for (let n = 0; n < 2; n++) {
      await t.rejects(live.replace({ with: present }), { message: reason })
      live.device.findServingProcess()
      t.equal(live.device.pid, pid, 'the same process serves')
      expectSame('after the refusal')
    }
  })
}

t.test('a version that speaks otherwise refuses, and this one goes on', async (t) => {
  const { live, expectSame } = await working(t)
  const { pid } = live.device
  await t.rejects(live.replace({ with: laterVersion(t, laterMessages) }), {
    message: /of a version that this one cannot replace/,
  })
  live.device.findServingProcess()
  t.equal(live.device.pid, pid, 'the same process serves')
  expectSame('after the refusal')
})

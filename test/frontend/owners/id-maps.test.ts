/** --uid-map and --gid-map: the owners of files that guests make, for a device in a user namespace of its own. */
import { chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { RunningProgram, runProgram } from '../../support/device/program.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

const USER = 107
const FIRST = 100_000
const O_RDWR = 2
const skip = isRoot ? {} : { skip: 'needs root: to become others, and to map ids' }

async function start(t: Test, owner: number, args: readonly string[], launcher: readonly string[] = []) {
  const home = tempDir(t)
  const directory = join(home, 'share')
  mkdirSync(directory)
  writeFileSync(join(directory, 'file'), 'content')
  for (const path of [home, directory, join(directory, 'file')]) chownSync(path, owner, owner)
  const socketPath = join(home, 'socket')
  const paths = ['--shared-dir', directory, '--socket-path', socketPath]
  const program = new RunningProgram(t, [...paths, ...args], launcher)
  await program.says('"ready')
  return { program, directory, socketPath }
}

t.test("an ordinary user's files belong to root in the guest", skip, async (t) => {
  const user = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--inh-caps=-all']
  const maps = [`--uid-map=:0:${USER}:1:`, `--gid-map=:0:${USER}:1:`]
  const { directory, socketPath, program } = await start(t, USER, maps, user)
  const fs = mount(t, { socketPath })
  t.equal(fs.lookup(ROOT_ID, 'file').attr.uid, 0)
  fs.create(ROOT_ID, 'made', O_RDWR)
  t.equal(fs.lookup(ROOT_ID, 'made').attr.gid, 0)
  t.match(statSync(join(directory, 'made')), { uid: USER, gid: USER })
  fs.close()
  t.same(await program.exited, { status: 0, signal: null })
})

t.test('root gives its guest a range of users', skip, async (t) => {
  const maps = [`--uid-map=:0:${FIRST}:65536:`, `--gid-map=:0:${FIRST}:65536:`]
  const { directory, socketPath, program } = await start(t, FIRST, maps)
  const fs = mount(t, { socketPath })
  t.equal(fs.lookup(ROOT_ID, 'file').attr.uid, 0)
  for (const uid of [0, 1000]) {
    fs.as({ uid, gid: uid }, () => fs.create(ROOT_ID, `by ${uid}`, O_RDWR))
    t.match(statSync(join(directory, `by ${uid}`)), { uid: FIRST + uid, gid: FIRST + uid })
  }
  fs.close()
  t.same(await program.exited, { status: 0, signal: null }, 'and its sockets are removed by who made them')
})

const share = ['--shared-dir', '/', '--socket-path', join(tempDir(t), 'socket')]
const mistakes: Readonly<Record<string, readonly [args: readonly string[], complaint: string]>> = {
  'a range that is none': [
    ['--uid-map', '0:1000:1'],
    '--uid-map 0:1000:1: not of the form :INSIDE:OUTSIDE:COUNT:, such as :0:100000:65536:',
  ],
  'an empty range': [
    ['--gid-map', ':0:1000:0:'],
    '--gid-map :0:1000:0:: ids are from 0 to 4294967294, and a range has one or more',
  ],
  'ids twice': [
    ['--uid-map', ':0:1000:10:', '--uid-map', ':20:1005:1:'],
    '--uid-map :20:1005:1:: overlaps with another range',
  ],
  'no namespace': [
    ['--uid-map', ':0:1000:1:', '--sandbox', 'none'],
    '--uid-map and --gid-map need --sandbox namespace: none has no users of its own',
  ],
}

for (const [name, [args, complaint]] of Object.entries(mistakes)) {
  t.test(name, async (t) => {
    t.match(runProgram([...share, ...args]), { status: 2, stderr: `virtiofsd-ts: ${complaint}` })
  })
}

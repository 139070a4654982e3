/** What this version hands to its successor is recorded: later versions must be able to go on from it. */
import { constants, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { EventLoop, HandedSender } from 'vhost-user-ts'
import { Counters } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { readOptions } from '../../../src/config/command-line.js'
import { configure } from '../../../src/config/configuration.js'
import { OpenRules } from '../../../src/io-mode/open-rules.js'
import { takeOver } from '../../../src/share/hand-over.js'
import { makeFsDevice } from '../../../src/share/make-fs-device.js'
import { packetPair } from '../../../src/sockets/packet-pair.js'
import { isRoot } from '../../support/device/cases.js'
import { fakeSuccessorProgram } from '../../support/device/fake-successor-program.js'
import { LiveDevice } from '../../support/device/live-device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { F_RDLCK, F_WRLCK, setlk, startSetlkw } from '../../support/fuse/posix-calls.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { O_DIRECTORY, O_RDONLY, O_RDWR } = constants
const RECORDED = fileURLToPath(
  new URL('../../../../test/frontend/migration/recorded/handed-1', import.meta.url),
)
const OPTIONS = ['--posix-lock', '--flock', '--cache', 'auto']

t.setTimeout(120_000)

function treeOf(directory: string): void {
  mkdirSync(join(directory, 'directory'))
  writeFileSync(join(directory, 'directory', 'file'), 'contents')
}

/** RECORD=1 makes the recorded state anew; a later version of the format gets a file of its own. */
async function record(): Promise<void> {
  const live = await LiveDevice.start(t, OPTIONS)
  const fs = mount(t, live.device)
  treeOf(live.device.directory)
  const { nodeid } = fs.lookup(ROOT_ID, 'directory')
  const file = fs.lookup(nodeid, 'file').nodeid
  const [a, b] = [0, 1].map(() => fs.open(file, O_RDWR).handle) as [bigint, bigint]
  fs.opendir(nodeid)
  fs.create(nodeid, 'gone', O_RDWR)
  fs.unlink(nodeid, 'gone')
  setlk(fs, file, a, { owner: 1n, type: F_WRLCK, start: 0, last: 9 })
  setlk(fs, file, b, { owner: 2n, type: F_RDLCK, start: 20, last: 29 })
  setlk(fs, file, b, { owner: 3n, type: F_WRLCK, flock: true })
  startSetlkw(fs, file, b, { owner: 4n, type: F_WRLCK, start: 0, last: 0 })
  await t.rejects(live.replace({ with: fakeSuccessorProgram(t, 'record', RECORDED) }))
}

/** Returns descriptors of the kinds that were recorded. */
function descriptorsOf(kinds: readonly string[], directory: string): number[] {
  let path = 0
  return kinds.map((kind) => {
    if (kind === 'socket') return packetPair().own
    if (kind === 'anon_inode') return native.eventfdCreate(0)
    if (kind === 'memory') return native.memfdCreate(4096)
    // The shared directory comes first.
    return path++ === 0
      ? openSync(directory, O_DIRECTORY | O_RDONLY)
      : openSync(join(directory, 'directory', 'file'), O_RDWR)
  })
}

t.test('version 1 is read', async (t) => {
  if (!isRoot) {
    t.pass('as root', { skip: 'root has recorded it: the process must be able to open file handles' })
    return
  }
  if (process.env['RECORD'] !== undefined) await record()
  const directory = tempDir(t)
  treeOf(directory)
  const kinds = JSON.parse(readFileSync(`${RECORDED}.json`, 'utf8')) as string[]
  const bytes = Uint8Array.from(readFileSync(`${RECORDED}.bin`))
  const { own, other } = packetPair()
  const sender = new HandedSender(other, performance.now() + 10_000)
  const fds = descriptorsOf(kinds, directory)
  sender.sendFds(fds)
  sender.sendBytes(bytes)
  sender.end()
  for (const fd of fds) native.close(fd)
  const read = readOptions(['--shared-dir', directory, '--socket-path', '/tmp/unused', ...OPTIONS])
  const config = read && configure(read.given).shares[0]
  if (config === undefined) throw new Error('there is no share')
  const rules = new OpenRules(config, config.rules)
  const counters = new Counters()
  const procFd = openSync('/proc/self/fd', O_DIRECTORY | O_RDONLY)
  const faults: string[] = []
  const share = makeFsDevice(config, { root: directory, procFd, fdLimit: 1000, counters }, rules, {
    agreed: () => {},
    fault: (kind) => faults.push(kind),
  })
  if (share.state === undefined) throw new Error('it has no state')
  share.device.attach(new EventLoop())
  const { connection } = takeOver(share.state, own)
  t.match(share.reports?.use(), { inodes: 4, files: 3, directories: 1, lockWaiters: 0 })
  t.equal(share.reports?.locks().held.length, 2)
  t.equal(share.session.agreed?.guestMinor, 46)
  const { session } = connection ?? {}
  t.match(session, { receivedFds: 0, backchannel: false, regions: [{ gpa: 0, fileOffsetBytes: 0 }] })
  t.match(session?.rings, [
    { index: 0, kick: true, call: true, inFlight: [] },
    { index: 1, kick: true, call: true, inFlight: [Number] },
  ])
  t.equal((connection?.fds.length ?? 0) - (session?.rings.length ?? 0) * 2, 2, 'connection and memory')
  t.same(faults, [])
})

/** Sockets, pid files and traces of the device are out of reach of its guests and of other users of the host. */
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { TraceFile } from '../../src/inspect/trace-file.js'
import { isRoot } from '../support/cases.js'
import { RunningProgram, runProgram } from '../support/program.js'
import { tempDir } from '../support/temp-dir.js'

/** A directory to share, with one in it, and a place beside it. */
function places(t: Test) {
  const beside = tempDir(t)
  const share = join(beside, 'share')
  mkdirSync(join(share, 'below'), { recursive: true })
  symlinkSync(join(share, 'below'), join(beside, 'elsewhere'))
  return {
    beside,
    share,
    within: ['share/x', 'share/below/x', 'elsewhere/x'].map((path) => join(beside, path)),
  }
}

for (const option of ['--socket-path', '--control-socket', '--trace']) {
  t.test(`${option} in a share is refused at start and by check-config`, async (t) => {
    const { beside, share, within } = places(t)
    for (const path of within) {
      const paths = option === '--socket-path' ? [] : ['--socket-path', join(beside, 'socket')]
      const args = ['--shared-dir', share, ...paths, option, path]
      for (const command of [[], ['check-config']]) {
        const { status, stderr } = runProgram([...command, ...args])
        t.equal(status, 2)
        t.match(stderr, new RegExp(`${option} ${path}: lies in the shared directory`))
      }
      t.notOk(existsSync(path))
      t.equal(
        runProgram(['check-config', ...args, '--readonly']).status,
        0,
        'a guest that changes nothing is no danger',
      )
    }
  })
}

t.test('the whole host, and /proc, are shared with a warning', async (t) => {
  const { beside } = places(t)
  const socket = ['--socket-path', join(beside, 'socket')]
  for (const [directory, text] of [
    ['/', /warning: the whole host is shared/],
    ['/proc', /warning: \/proc is shared/],
  ] as const) {
    const { status, stdout } = runProgram(['check-config', '--shared-dir', directory, ...socket])
    t.equal(status, 0)
    t.match(stdout, text)
  }
  const program = new RunningProgram(t, ['--shared-dir', '/', ...socket])
  await program.says('the whole host is shared')
  await program.says('"ready')
})

t.test('a trace is written through no link, and over nothing', async (t) => {
  const directory = tempDir(t)
  const [victim, path] = [join(directory, 'victim'), join(directory, 'trace')]
  writeFileSync(victim, 'of the host')
  symlinkSync(victim, path)
  const trace = new TraceFile(path)
  trace.write(Buffer.from('first'), true)
  trace.close()
  t.equal(readFileSync(victim, 'utf8'), 'of the host')
  t.ok(lstatSync(path).isFile())
})

const asRoot = isRoot ? {} : { skip: 'needs root: groups' }

t.test('a group gets a socket in no directory that everybody may write to', asRoot, async (t) => {
  const { beside, share } = places(t)
  const args = ['--shared-dir', share, '--socket-path', join(beside, 'socket'), '--socket-group', 'nogroup']
  chmodSync(beside, 0o777)
  const { status, stderr } = runProgram(args)
  t.equal(status, 2)
  t.match(stderr, /everybody may write to/)
  t.same([existsSync(join(beside, 'socket')), existsSync(join(beside, 'socket.pid'))], [false, false])
  chmodSync(beside, 0o1777)
  const program = new RunningProgram(t, args)
  await program.says('"ready')
  const { mode, gid } = statSync(join(beside, 'socket'))
  t.equal(mode & 0o777, 0o660)
  t.not(gid, 0)
})

t.test('a pid file that is another name of somebody else’s file stays as it is', async (t) => {
  const { beside, share } = places(t)
  const victim = join(beside, 'victim')
  writeFileSync(victim, 'of the host')
  linkSync(victim, join(beside, 'socket.pid'))
  const { status, stderr } = runProgram(['--shared-dir', share, '--socket-path', join(beside, 'socket')])
  t.equal(status, 2)
  t.match(stderr, /is no file of its own/)
  t.equal(readFileSync(victim, 'utf8'), 'of the host')
})

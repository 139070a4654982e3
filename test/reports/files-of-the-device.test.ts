/** Sockets, pid files and traces of the device are out of reach of its guests and of other users of the host. */
import { execFileSync } from 'node:child_process'
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
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { TraceFile } from '../../src/inspect/trace-file.js'
import { isRoot } from '../support/device/cases.js'
import { RunningProgram, runProgram } from '../support/device/program.js'
import { tempDir } from '../support/host/temp-dir.js'

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

t.test('a configuration, system log or module in a share is refused, too', async (t) => {
  const { beside, share } = places(t)
  const socket = join(beside, 'socket')
  const text = `[[share]]\nshared-dir = "${share}"\nsocket-path = "${socket}"\n`
  const config = join(share, 'below/config.toml')
  const module = join(share, 'module.mjs')
  writeFileSync(config, text)
  writeFileSync(module, 'export default {}')
  // A link in the share that leads out of it, and one outside that leads into it.
  symlinkSync(beside, join(share, 'out'))
  writeFileSync(join(beside, 'config.toml'), text)
  symlinkSync(config, join(beside, 'link.toml'))
  const shared = ['--shared-dir', share, '--socket-path', socket]
  const refused = (option: string, path: string, args: string[]) => {
    const { status, stderr } = runProgram(['check-config', ...args, option, path])
    t.equal(status, 2, `${option} ${path}`)
    t.match(stderr, `${option} ${path}: lies in the shared directory ${share}`)
  }
  refused('--config', config, [])
  refused('--config', join(beside, 'link.toml'), [])
  refused('--config', join(share, 'out/config.toml'), [])
  refused('--syslog', join(share, 'log'), shared)
  const other = ['--share', `tag=a,path=${share},socket=${socket}`, '--socket-path', join(beside, 'second')]
  refused('--file-system', module, other)
  refused('--trace', join(share, 'out/trace'), shared)
  refused('--control-socket', join(share, 'out/control'), shared)
  t.equal(runProgram(['check-config', '--config', join(beside, 'config.toml')]).status, 0)
})

const asMounter = isRoot ? {} : { skip: 'needs root: mounts' }

t.test('a share is recognised by another path to it', asMounter, async (t) => {
  const { beside, share } = places(t)
  const again = join(beside, 'again')
  mkdirSync(again)
  execFileSync('mount', ['--bind', share, again])
  t.teardown(() => execFileSync('umount', [again]))
  const { status, stderr } = runProgram([
    ...['check-config', '--shared-dir', share, '--socket-path', join(beside, 'socket')],
    ...['--trace', join(again, 'trace')],
  ])
  t.equal(status, 2)
  t.match(stderr, /lies in the shared directory/)
})

t.test('a share inside another, and the program in a share, come with a warning', async (t) => {
  const { beside, share } = places(t)
  const both = (outer: string) => [
    ...['check-config', '--share', `tag=outer,path=${share},socket=${join(beside, 'a')}${outer}`],
    ...['--share', `tag=inner,path=${join(share, 'below')},socket=${join(beside, 'b')}`],
  ]
  const inside = /warning: the shared directory .*below lies in this one/
  t.match(runProgram(both('')).stdout, inside)
  t.notMatch(runProgram(both(',readonly')).stdout, inside)
  const program = fileURLToPath(new URL('../../..', import.meta.url))
  const socket = ['--socket-path', join(beside, 'socket')]
  for (const directory of [program, join(program, 'dist/program')]) {
    const { stdout } = runProgram(['check-config', '--shared-dir', directory, ...socket])
    t.match(stdout, /warning: this program lies in it/)
    const [, named = ''] = /this program lies in it \((.+?)\)/.exec(stdout) ?? []
    t.ok(existsSync(named), `${named} is there`)
  }
})

t.test('shares of / and of /proc come with a warning', async (t) => {
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

t.test('a trace is not written through a link or over another file', async (t) => {
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

t.test('--socket-group refuses a directory that everybody may write to', asRoot, async (t) => {
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

t.test('a pid file that is another name of some file is not written to', async (t) => {
  const { beside, share } = places(t)
  const victim = join(beside, 'victim')
  writeFileSync(victim, 'of the host')
  linkSync(victim, join(beside, 'socket.pid'))
  const { status, stderr } = runProgram(['--shared-dir', share, '--socket-path', join(beside, 'socket')])
  t.equal(status, 2)
  t.match(stderr, /is not a regular file with one name/)
  t.equal(readFileSync(victim, 'utf8'), 'of the host')
})

/** A wrong option or file is reported in one line that says what was wrong and what would be right, with status 2. */
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { RunningProgram, runProgram } from '../support/device/program.js'
import { tempDir } from '../support/host/temp-dir.js'

const home = tempDir(t)
const path = (name: string) => join(home, name)
const directory = path('share')
const share = ['--shared-dir', directory, '--socket-path', path('socket')]
mkdirSync(directory)
writeFileSync(path('file'), '')
symlinkSync('loop', path('loop'))

function configFile(name: string, ...lines: readonly string[]): string {
  writeFileSync(path(name), lines.join('\n'))
  return path(name)
}

const goodShare = ['[[share]]', `path = "${directory}"`, `socket = "${path('socket')}"`]
const shareWords = `path=${directory},socket=${path('socket')}`
const long = path('x'.repeat(120))

const mistakes: Readonly<Record<string, readonly [args: readonly string[], complaint: string | RegExp]>> = {
  nothing: [[], '--shared-dir DIR --socket-path SOCKET serves a directory; --help lists all options'],
  'no directory': [
    ['--socket-path', path('socket')],
    '--shared-dir is missing: which directory is to be shared?',
  ],
  'no socket': [['--shared-dir', directory], '--socket-path is missing: where is QEMU to connect?'],
  'missing directory': [
    [...share, '--shared-dir', path('none')],
    `--shared-dir ${path('none')}: no such directory`,
  ],
  'a device': [
    [...share, '--shared-dir', '/dev/null'],
    '--shared-dir /dev/null: neither a directory nor a file',
  ],
  'below a file': [
    [...share, '--shared-dir', path('file/x')],
    `--shared-dir ${path('file/x')}: cannot be reached (ENOTDIR)`,
  ],
  'a loop of links': [
    [...share, '--shared-dir', path('loop/x')],
    `--shared-dir ${path('loop/x')}: cannot be reached (ELOOP)`,
  ],
  'socket path too long': [
    [...share, '--socket-path', long],
    `--socket-path ${long}: ${long.length} bytes, a socket path has at most 107`,
  ],
  'socket in no directory': [
    [...share, '--socket-path', path('none/s')],
    `--socket-path ${path('none/s')}: there is no directory ${path('none')}`,
  ],
  'no socket but a file': [
    [...share, '--socket-path', path('file')],
    `--socket-path ${path('file')}: exists and is no socket`,
  ],
  'a choice': [
    [...share, '--cache', 'sometimes'],
    "--cache: 'sometimes' is not one of never, metadata, auto, always",
  ],
  'a number': [
    [...share, '--poll-us', 'x'],
    "--poll-us: 'x' is not a whole number (microseconds) from 0 to 1000000",
  ],
  'a negative number': [
    [...share, '--poll-us', '-1'],
    "--poll-us: '-1' is not a whole number (microseconds) from 0 to 1000000",
  ],
  'a time': [[...share, '--entry-timeout', 'soon'], "--entry-timeout: 'soon' is not a number of seconds"],
  'a mistyped option': [[...share, '--cahce', 'never'], "unknown option '--cahce' (did you mean --cache?)"],
  'an option without its value': [[...share, '--cache'], '--cache needs a value: <mode>'],
  'an unknown short option': [[...share, '-x'], "unknown option '-x'"],
  'a value for a flag': [[...share, '--readonly=maybe'], "--readonly takes no value: 'maybe'"],
  'a word that resembles no option': [[...share, '-o', 'foo'], "-o: unknown option 'foo'"],
  'a long option with one dash': [[...share, '-tag', 'x'], "unknown option '-tag' (did you mean --tag?)"],
  'an unknown word of -o': [
    [...share, '-o', 'writeback,writebakc'],
    "-o: unknown option 'writebakc' (did you mean writeback?)",
  ],
  'a word of -o without its value': [[...share, '-o', 'cache'], '-o: cache needs a value'],
  'a bad value in -o': [
    [...share, '-o', 'cache=sometimes'],
    "-o cache: 'sometimes' is not one of never, metadata, auto, always",
  ],
  'a mistyped command': [
    ['chek-config'],
    /^virtiofsd-ts: there is no command 'chek-config' \(did you mean check-config\?\)/,
  ],
  'a socket and a descriptor': [[...share, '--fd', '3'], '--fd and --socket-path: give one of them'],
  'a descriptor that is closed': [
    ['--shared-dir', directory, '--fd', '77'],
    '--fd 77: not a unix socket that listens (EBADF)',
  ],
  'a descriptor that does not listen': [
    ['--shared-dir', directory, '--fd', '0'],
    /--fd 0: not a unix socket that listens/,
  ],
  'no such group': [
    [...share, '--socket-group', 'no-such-group'],
    '--socket-group no-such-group: there is no such group',
  ],
  'a word too many': [[...share, 'extra'], "unexpected argument 'extra': options begin with --"],
  'a tag too long': [
    [...share, '--tag', 't'.repeat(37)],
    `--tag '${'t'.repeat(37)}': a tag has 1 to 36 bytes`,
  ],
  'too few files': [
    [...share, '--rlimit-nofile', '10'],
    '--rlimit-nofile 10: the process itself needs some, give it 512 or more',
  ],
  'an unknown opcode': [
    [...share, '--fault', 'opcode=WRITEE,errno=EIO'],
    /--fault: no such opcode: 'WRITEE'/,
  ],
  'a fault that is none': [[...share, '--fault', 'nonsense'], "--fault: expected key=value, got 'nonsense'"],
  'an unknown word of a fault': [
    [...share, '--fault', 'opcodee=WRITE,errno=EIO'],
    "--fault: unknown word 'opcodee' of a fault: there are opcode, path, probability, limit, hold, timeout-ms, delay-ms, errno, short-bytes, violation",
  ],
  'an unknown INIT flag': [
    [...share, '--init-on', 'ASYNC_DIOO'],
    "--init-on: no such INIT flag: 'ASYNC_DIOO' (did you mean ASYNC_DIO?)",
  ],
  'an INIT flag to leave out that is none': [
    [...share, '--init-off', 'FOO'],
    "--init-off: no such INIT flag: 'FOO'",
  ],
  'a translation of no type': [
    [...share, '--translate-uid', 'foo'],
    "--translate-uid: 'foo': type 'foo' is not one of guest, host, squash-guest, squash-host, forbid-guest, map",
  ],
  'an unknown word of --share': [
    ['--share', `${shareWords},cachee=never`],
    "--share: unknown option 'cachee' (did you mean cache?)",
  ],
  'a part of the name of an option': [
    ['--share', `${shareWords},iops=10`],
    "--share: unknown option 'iops' (did you mean limit-iops?)",
  ],
  'an option of the process in --share': [
    ['--share', `${shareWords},share-threads=2`],
    "--share: 'share-threads' is for the whole process",
  ],
  'no thread for shares': [
    [...share, '--share-threads', '0'],
    "--share-threads: '0' is not a whole number (threads) from 1 to 4096",
  ],
  'too many threads for queues': [
    [...share, '--queue-threads', '65'],
    "--queue-threads: '65' is not a whole number (threads) from 1 to 64",
  ],
  'two shares at one socket': [
    ['--share', shareWords, '--share', shareWords],
    `--share: socket ${path('socket')}: another share listens there already`,
  ],
  'two shares at one socket, written in two ways': [
    ['--share', shareWords, '--share', `path=${directory},socket=${directory}/../socket`],
    `--share: socket ${path('socket')}: another share listens there already`,
  ],
  'a share at the control socket': [
    [...share, '--control-socket', path('socket')],
    `--socket-path ${path('socket')}: the control socket is there already`,
  ],
  'two shares with one tag': [
    ['--share', `tag=a,${shareWords}`, '--share', `tag=a,path=${directory},socket=${path('other')}`],
    "--share: tag 'a': another share has this tag already",
  ],
  'two shares with one trace': [
    ['--share', shareWords, '--share', `path=${directory},socket=${path('other')}`, '--trace', path('trace')],
    `--share: trace ${path('trace')}: another share is traced there already: put trace= into the --share that needs it`,
  ],
  'a trace that would replace a device': [
    [...share, '--trace', '/dev/full'],
    '--trace /dev/full: exists and is no regular file',
  ],
  'a trace in no directory': [
    [...share, '--trace', path('none/trace')],
    `--trace ${path('none')}: no such directory`,
  ],
  'no configuration file': [
    ['--config', path('none.toml')],
    `--config ${path('none.toml')}: cannot be read (ENOENT)`,
  ],
  'an unknown key': [
    ['--config', configFile('key.toml', ...goodShare, 'cahce = "auto"')],
    `${path('key.toml')}:4: unknown key 'cahce' (did you mean cache?)`,
  ],
  'a bad value in the file': [
    ['--config', configFile('value.toml', ...goodShare, '', 'cache = "sometimes"')],
    `${path('value.toml')}:5: cache: 'sometimes' is not one of never, metadata, auto, always`,
  ],
  'a bad glob': [
    ['--config', configFile('glob.toml', ...goodShare, '[[share.rule]]', 'match = "db/[**"')],
    /glob\.toml:5: bad glob 'db\/\[\*\*'/,
  ],
  'a rule for nothing': [
    ['--config', configFile('rule.toml', ...goodShare, '[[share.rule]]', 'cache = "never"')],
    `${path('rule.toml')}:4: a rule needs match = "GLOB"`,
  ],
  'an option that no rule has': [
    [
      '--config',
      configFile('scope.toml', ...goodShare, '[[share.rule]]', 'match = "x"', 'allow-mmap = true'),
    ],
    `${path('scope.toml')}:6: 'allow-mmap' is for a whole [[share]]`,
  ],
  'an option of the process in a share': [
    ['--config', configFile('process.toml', ...goodShare, 'log-level = "warn"')],
    `${path('process.toml')}:4: 'log-level' is for the whole process: before the first table`,
  ],
  'a table with single brackets': [
    ['--config', configFile('single.toml', '[share]', ...goodShare.slice(1))],
    `${path('single.toml')}:1: unknown table [share]: there are [[share]] and [[share.rule]]`,
  ],
  'a rule of no share': [
    ['--config', configFile('orphan.toml', '[[share.rule]]', 'match = "x"')],
    `${path('orphan.toml')}:1: a rule stands below its [[share]]`,
  ],
  'two shares of the file at one socket': [
    ['--config', configFile('twice.toml', ...goodShare, ...goodShare)],
    /twice\.toml:6: socket .*: another share listens there already/,
  ],
  'no TOML': [['--config', configFile('syntax.toml', '[[share]')], /syntax\.toml:1: /],
  'ctl without a command': [
    ['ctl', '--control-socket', path('none')],
    'ctl: <command> is missing: "virtiofsd-ts ctl --help" explains it',
  ],
  'a command of ctl without its argument': [
    ['ctl', '--control-socket', path('none'), 'withhold'],
    'ctl: withhold needs an argument: OPCODE+OPCODE: answer these with ENOSYS, and no others; none: answer all',
  ],
  'ctl without a socket': [
    ['ctl', 'state'],
    'ctl: --control-socket <path> is missing: the path that the running process was given',
  ],
  'top without a socket': [
    ['top', '--once'],
    'top: --control-socket <path> is missing: the path that the running process was given',
  ],
  'ctl with an option that has no value': [
    ['ctl', 'state', '--control-socket'],
    'ctl: --control-socket needs a value: <path>',
  ],
  'ctl with nobody there': [
    ['ctl', '--control-socket', path('none'), 'shares'],
    `ctl: nobody answers at ${path('none')} (ENOENT)`,
  ],
  'no trace': [
    ['trace', path('none')],
    `trace: ${path('none')}: no such file: the device makes it at the first request`,
  ],
  'a trace that is a directory': [['trace', directory], `trace: ${directory} cannot be read (EISDIR)`],
  'a file that is no trace': [['trace', path('file')], `trace: ${path('file')}: not a trace of virtiofsd-ts`],
  'an unknown open flag': [
    ['check-config', ...share, 'a', 'O_FOO'],
    "check-config: no such open flag: 'O_FOO'",
  ],
}

for (const [name, [args, complaint]] of Object.entries(mistakes)) {
  t.test(name, async (t) => {
    const { status, stdout, stderr } = runProgram(args)
    t.equal(status, 2)
    t.equal(stdout, '')
    t.equal(stderr.split('\n').length, 1, 'one line')
    if (typeof complaint === 'string') t.equal(stderr, `virtiofsd-ts: ${complaint}`)
    else t.match(stderr, complaint)
  })
}

t.test('a socket at which another process listens is refused', async (t) => {
  const socketPath = path('taken')
  const server = createServer().listen(socketPath)
  await new Promise((resolve) => server.on('listening', resolve))
  const { status, stderr } = runProgram([...share, '--socket-path', socketPath])
  t.equal(stderr, `virtiofsd-ts: --socket-path ${socketPath}: another process listens there`)
  t.equal(status, 2)
  t.ok(existsSync(socketPath), 'it is left alone')
  server.close()
})

t.test(
  'places that an ordinary user cannot reach are refused',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const ordinary = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all']
    chmodSync(home, 0o755)
    mkdirSync(path('locked'), { mode: 0o700 })
    t.match(runProgram([...share, '--shared-dir', path('locked')], ordinary), {
      status: 2,
      stderr: `virtiofsd-ts: --shared-dir ${path('locked')}: this user cannot enter it (EACCES)`,
    })
    t.match(runProgram(share, ordinary), {
      status: 2,
      stderr: `virtiofsd-ts: --socket-path ${path('socket')}: this user cannot write to ${home}`,
    })
  },
)

t.test('a refused start leaves nothing behind', async (t) => {
  t.same(
    readdirSync(home).filter((name) => /sock|pid/.test(name)),
    [],
  )
})

t.test('a process that ends before it has read a command', async (t) => {
  const socketPath = path('ending')
  const server = createServer({ pauseOnConnect: true }, (client) => {
    // The command is on its way, and stays unread.
    setTimeout(() => client.destroy(), 300)
  }).listen(socketPath)
  await once(server, 'listening')
  const program = new RunningProgram(t, ['ctl', '--control-socket', socketPath, 'state'])
  t.same(await program.exited, { status: 2, signal: null })
  t.equal(await program.says(/./), 'virtiofsd-ts: ctl: the process closed the connection')
  server.close()
})

t.test('limits and quotas in a file may be numbers', async (t) => {
  const config = configFile(
    'numbers.toml',
    ...goodShare,
    'limit-iops = 2000',
    'limit-bandwidth = 1048576',
    'quota-bytes = 5000',
    'quota-inodes = 7',
  )
  const { status, stderr } = runProgram(['check-config', '--config', config])
  t.equal(status, 0, stderr)
})

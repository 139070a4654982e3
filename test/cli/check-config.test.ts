/**
 * `check-config` shows what a configuration means, which rule wins for a path, and which options will have no effect.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runProgram } from '../support/device/program.js'
import { tempDir } from '../support/host/temp-dir.js'

const home = tempDir(t)
const directory = join(home, 'share')
const file = join(home, 'shares.toml')
mkdirSync(directory)
writeFileSync(
  file,
  `[[share]]
tag = "data"
path = "${directory}"
socket = "${join(home, 'socket')}"

[[share.rule]]
match = "db/public/**"

[[share.rule]]
match = "db/**"
o-direct = true
cache = "never"
parallel-dio = true
attr-timeout = 3

[[share.rule]]
match = "*.log"
read-only = true
direct-io = "always"
`,
)

/** The lines that it prints. */
function check(...args: readonly string[]): string[] {
  const { status, stdout, stderr } = runProgram(['check-config', '--config', file, ...args])
  if (status !== 0) throw new Error(stderr)
  return stdout.split('\n')
}

t.test('each share and rule is shown, with the flags that opens get', async (t) => {
  t.same(check(), [
    `share data: ${directory}`,
    '  names valid 1 s, attributes 1 s, absent names 0 s',
    '  opens reply no FOPEN flags (cached)',
    `  rule 1 (${file}:6): db/public/**: reply no FOPEN flags (cached)`,
    `  rule 2 (${file}:9): db/**, with O_DIRECT: reply DIRECT_IO|PARALLEL_DIRECT_WRITES`,
    `  rule 3 (${file}:16): *.log, opened for reading: reply DIRECT_IO`,
  ])
})

t.test('the rule that wins for a path is named', async (t) => {
  const opens = (path: string, flags: string) => check(path, flags)[1]
  t.match(opens('db/a/b', 'O_RDWR|O_DIRECT'), /rule 2 .* wins: .* DIRECT_IO\|PARALLEL_DIRECT_WRITES$/)
  t.match(opens('db/a/b', 'O_RDWR'), /no rule applies.* no FOPEN flags/)
  t.match(opens('db/public/b', 'O_RDWR+O_DIRECT'), /rule 1 .* wins: .* no FOPEN flags/, 'an exception')
  t.match(opens('a.log', 'O_RDONLY'), /rule 3 .* wins: .* DIRECT_IO$/)
  t.match(opens('a.log', 'O_WRONLY,O_APPEND'), /no rule applies/)
  t.match(check(join(directory, 'a.log'))[1], /rule 3/, 'an absolute path, for reading')
  t.match(runProgram(['check-config', '--config', file, '/elsewhere']), {
    status: 2,
    stderr: 'virtiofsd-ts: check-config: no share holds /elsewhere',
  })
})

t.test('options that will do nothing are named', async (t) => {
  const share = ['--shared-dir', directory, '--socket-path', join(home, 'socket')]
  const notes = (...args: readonly string[]) => {
    const { stdout } = runProgram(['check-config', ...share, ...args])
    return stdout.split('\n').flatMap((line) => /note: ([\w-]+) /.exec(line)?.[1] ?? [])
  }
  const all = ['--parallel-dio', '--allow-mmap', '--keep-cache', '--writeback']
  t.same(notes('--cache', 'auto', ...all), ['parallel-dio', 'allow-mmap'])
  t.same(notes('--cache', 'never', ...all), ['keep-cache', 'writeback'])
  t.same(notes('--direct-io', 'o-direct', ...all), [])
  t.same(notes('--queue-threads', '4'), [])
  t.same(notes('--queue-threads', '1', '--flock'), [])
  for (const reason of [
    ['--flock'],
    ['--posix-lock'],
    ['--export'],
    ['--inspect'],
    ['--limit-iops', '9'],
    ['--quota-bytes', '1g'],
  ])
    t.same(notes('--queue-threads', '4', ...reason), ['queue-threads'], reason.join(' '))
})

t.test('a reader may close the output early', async (t) => {
  const { stdout, stderr } = runProgram(['--help'], ['sh', '-c', '"$@" | head -1', 'sh'])
  t.match(stdout, /^Usage: [^\n]*$/)
  t.equal(stderr, '')
})

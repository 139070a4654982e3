/** Only serving needs compiled code: everything else works without the addon. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { runProgram } from '../support/device/program.js'
import { tempDir } from '../support/host/temp-dir.js'

const MAIN = fileURLToPath(new URL('../../program/main.js', import.meta.url))
const MISSING = ['env', 'VIRTIOFSD_TS_NATIVE=/nowhere/native.node']
const run = (args: readonly string[]) => runProgram(args, MISSING)

t.test('help, version, check-config, trace, ctl and completion need no addon', async (t) => {
  const home = tempDir(t)
  const directory = join(home, 'share')
  mkdirSync(directory)
  const config = join(home, 'shares.toml')
  writeFileSync(config, `[[share]]\npath = "${directory}"\nsocket = "${home}/socket"\ncache = "never"\n`)
  writeFileSync(join(home, 'no-trace'), 'nothing')
  for (const [args, status, said] of [
    [['--version'], 0, /^\d+\.\d+\.\d+/],
    [['--help'], 0, /^Usage: virtiofsd-ts /],
    [['help'], 0, /^Usage: virtiofsd-ts /],
    [['ctl', '--help'], 0, /^Usage: virtiofsd-ts ctl /],
    [['--print-capabilities'], 0, /"separate-options"/],
    [['check-config', '--config', config, 'file', 'O_RDWR'], 0, /the guest gets DIRECT_IO/],
    [['check-config', '--shared-dir', directory, '--fd', '3'], 0, /share/],
    [['completion', 'bash'], 0, /virtiofsd-ts/],
    [['completion', 'zsh'], 0, /virtiofsd-ts/],
    [['completion', 'fish'], 0, /virtiofsd-ts/],
    [['trace', join(home, 'no-trace')], 2, /^virtiofsd-ts: trace: /],
    [['--no-such-option'], 2, /^virtiofsd-ts: unknown option/],
    [['no-such-command'], 2, /^virtiofsd-ts: there is no command/],
  ] as const) {
    const { status: ended, stdout, stderr } = run(args)
    t.equal(ended, status, args.join(' '))
    t.match(stdout + stderr, said)
    t.notMatch(stderr, /addon/)
  }
})

t.test('serving says in one line what is missing', async (t) => {
  const directory = tempDir(t)
  const { status, stderr } = run(['--shared-dir', directory, '--socket-path', join(tempDir(t), 'socket')])
  t.equal(status, 1)
  t.match(
    stderr,
    /^virtiofsd-ts: the addon is missing: Cannot find module '\/nowhere\/native.node'; "make -C /,
  )
  t.notOk(stderr.includes('\n'))
})

t.test('head may close the output of a command', async (t) => {
  const command = `"${process.execPath}" "${MAIN}" completion bash | head -n 1`
  const { stdout, stderr } = spawnSync('env', ['-i', `PATH=${process.env['PATH']}`, 'sh', '-c', command], {
    encoding: 'utf8',
  })
  t.match(stdout, /^# bash completion/)
  t.equal(stderr, '')
})

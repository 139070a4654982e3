/** Signals that come while a process becomes another program wait for that program. */
import { spawnSync } from 'node:child_process'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { tempDir } from '../../support/host/temp-dir.js'

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const
/** As /proc/PID/status has it. */
const MASK = SIGNALS.reduce((mask, name) => mask | (1n << BigInt(constants.signals[name] - 1)), 0n)
const ADDON = import.meta.resolve('virtiofsd-ts-native')

// From dist/test/unit/native back to the source.
const SLOW_HANDLER = fileURLToPath(new URL('../../../../test/support/host/slow-handler.c', import.meta.url))

/** Runs a program behind `putOffSignals`, without the test runner's options, by which it would listen to signals itself. */
function run(program: string, environment: readonly string[] = []) {
  const text = `import * as native from '${ADDON}'\nnative.putOffSignals()\n${program}`
  const words = ['-i', ...environment, process.execPath, '--input-type=module', '-e', text]
  return spawnSync('env', words, { encoding: 'utf8' })
}

/** What a program prints after it has put signals off. */
function printed(t: Test, program: string): string {
  const { status, stdout, stderr } = run(program)
  t.equal(status, 0, stderr)
  return stdout
}

t.test('no thread takes a signal any more', async (t) => {
  const stdout = printed(
    t,
    `import { readdirSync, readFileSync } from 'node:fs'
     for (const thread of readdirSync('/proc/self/task'))
       console.log(readFileSync(\`/proc/self/task/\${thread}/status\`, 'utf8').match(/SigBlk:\\s*(\\w+)/)[1])`,
  )
  const masks = stdout.trim().split('\n')
  t.ok(masks.length > 1, 'Node has several threads')
  t.same(
    masks.filter((mask) => (BigInt(`0x${mask}`) & MASK) !== MASK),
    [],
  )
})

t.test('a signal waits for the program that comes', async (t) => {
  const stdout = printed(
    t,
    `for (const signal of ${JSON.stringify(SIGNALS)}) process.kill(process.pid, signal)
     native.becomeProgram(['/bin/grep', 'ShdPnd', '/proc/self/status'], Int32Array.of(0, 1, 2))`,
  )
  t.equal(BigInt(`0x${stdout.split(':')[1]?.trim()}`), MASK)
})

t.test('a signal that a thread has taken just before ends the process at once', async (t) => {
  const library = join(tempDir(t), 'slow-handler.so')
  const compiled = spawnSync('cc', ['-shared', '-fPIC', '-Wall', '-Werror', '-o', library, SLOW_HANDLER], {
    encoding: 'utf8',
  })
  t.equal(compiled.status, 0, compiled.stderr)
  const { signal, stdout } = run(
    `native.becomeProgram(['/bin/echo', 'the next program'], Int32Array.of(0, 1, 2))`,
    [`LD_PRELOAD=${library}`],
  )
  t.equal(stdout, '')
  t.equal(signal, 'SIGTERM')
})

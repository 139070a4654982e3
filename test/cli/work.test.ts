/** The command lines of `make work` and `make bench-limits`. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const WORK = fileURLToPath(new URL('../../vm/work.js', import.meta.url))
const LIMITS = fileURLToPath(new URL('../../vm/bench-limits.js', import.meta.url))
const COMPARE = fileURLToPath(new URL('../../vm/bench-compare.js', import.meta.url))
const NEIGHBOURS = fileURLToPath(new URL('../../vm/bench-neighbours.js', import.meta.url))

/** Checks that a program refuses its arguments with status 2 and one line. */
function refuses(t: Test, program: string, args: string[], line: RegExp): void {
  const { status, stderr } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' })
  t.equal(status, 2, args.join(' '))
  t.match(stderr, line)
}

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'needs root' }

t.test('make work refuses a glob of --only that matches no work', needsRoot, async (t) => {
  refuses(t, WORK, ['--only', 'git nonsense'], /^--only nonsense: there is no such work\n$/)
  refuses(t, WORK, ['--only', '{git,npm}'], /^--only {git: there is no such work\n$/)
  refuses(t, WORK, ['--only', ''], /^--only : there is no such work\n$/)
})

t.test('make work refuses unknown policies, kernels and peers', needsRoot, async (t) => {
  refuses(t, WORK, ['--policies', 'often'], /often/)
  refuses(t, WORK, ['--peer', '/no/device', '--only', 'git'], /\/no\/device/)
})

t.test('make bench-limits refuses unknown measurements and counts', async (t) => {
  refuses(t, LIMITS, ['--only', 'soaks'], /^no such measurement: soaks; there are start, /)
  refuses(t, LIMITS, ['--minutes', 'x'], /^not a positive number: x\n$/)
  refuses(t, LIMITS, ['--nope'], /^error: unknown option '--nope'/)
})

t.test('make bench-compare needs two reports', async (t) => {
  refuses(t, COMPARE, [], /^error: missing required argument 'before'/)
  refuses(t, COMPARE, ['/etc/hostname', '/etc/hostname'], /^\/etc\/hostname: /)
})

t.test('make bench-neighbours refuses unknown options', async (t) => {
  refuses(t, NEIGHBOURS, ['--rounds', '0'], /^not a positive number: 0\n$/)
})

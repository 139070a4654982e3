/** `make lab-bisect` on a history of its own: one of eight commits breaks a rule, one does not build, one does not boot. */
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t from 'tap'
import { BAD, CULPRIT, GOOD, makeKernelHistory, SKIPPED } from './kernel-history.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

t.setTimeout(3_600_000)

t.test('the bisection ends at the commit that broke the rule', async (t) => {
  const tree = await makeKernelHistory()
  const { exitCode, stdout } = await execa(
    'make',
    [
      '-s',
      'lab-bisect',
      `TREE=${tree}`,
      `GOOD=${GOOD}`,
      `BAD=${BAD}`,
      'CASES=overlap/append',
      'SHARES=parallel',
    ],
    { cwd: ROOT, reject: false, stdout: ['pipe', 'inherit'], stderr: 'inherit' },
  )
  t.equal(exitCode, 0)
  const commit = /^([0-9a-f]{40}) is the first bad commit$/m.exec(stdout)?.[1] ?? 'none'
  const { stdout: subject } = await execa('git', ['-C', tree, 'show', '--no-patch', '--format=%s', commit])
  t.equal(subject, CULPRIT)
  t.match(stdout, 'fuse_open_count', `skipped: ${SKIPPED.doesNotBuild}`)
  t.match(stdout, 'kernel BUG at fs/fuse/inode.c', `skipped: ${SKIPPED.doesNotBoot}`)
})

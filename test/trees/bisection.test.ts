/** `make lab-bisect` on a history of its own: one of eight commits breaks a rule, one does not build, one does not boot. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t from 'tap'
import type { LabResult } from '../../vm/lab/result.js'
import { tempDir } from '../support/host/temp-dir.js'
import { BAD, CULPRIT, GOOD, makeKernelHistory, SKIPPED } from './kernel-history.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const SHOWN = { reject: false, cwd: ROOT, stdout: ['pipe', 'inherit'], stderr: 'inherit' } as const

t.setTimeout(3_600_000)

t.test('the bisection ends at the commit that broke the rule', async (t) => {
  const tree = await makeKernelHistory()
  const variables = [`TREE=${tree}`, `GOOD=${GOOD}`, `BAD=${BAD}`, 'CASES=overlap/append', 'SHARES=parallel']
  const { exitCode, stdout } = await execa('make', ['-s', 'lab-bisect', ...variables], SHOWN)
  t.equal(exitCode, 0)
  const commit = /^([0-9a-f]{40}) is the first bad commit$/m.exec(stdout)?.[1] ?? 'none'
  const { stdout: subject } = await execa('git', ['-C', tree, 'show', '--no-patch', '--format=%s', commit])
  t.equal(subject, CULPRIT)
  t.match(stdout, /fuse_open_count.* undeclared/, 'the commit that does not build was met, and skipped')
})

t.test('a commit that does not build, or not boot, has status 125', async (t) => {
  const tree = await makeKernelHistory()
  const runLab = (subject: string) => {
    const words = ['--tree', tree, '--rev', `${BAD}^{/${subject.replaceAll(' ', '.')}}`]
    return execa('vm/lab/lab', [...words, '--cases', 'overlap/append', '--shares', 'parallel'], SHOWN)
  }
  t.match(await runLab(SKIPPED.doesNotBuild), { exitCode: 125, stdout: /fuse_open_count.* undeclared/ })
  t.match(await runLab(SKIPPED.doesNotBoot), { exitCode: 125, stdout: /kernel BUG at fs\/fuse\/inode\.c/ })
})

t.test('requests of a kernel from a tree have their trace events in the timeline', async (t) => {
  const json = join(tempDir(t), 'lab.json')
  const words = ['--tree', await makeKernelHistory(), '--rev', GOOD, '--json', json]
  const { exitCode } = await execa(
    'vm/lab/lab',
    [...words, '--cases', 'overlap/append', '--shares', 'parallel'],
    SHOWN,
  )
  t.equal(exitCode, 0)
  const [kernel] = (JSON.parse(readFileSync(json, 'utf8')) as LabResult).kernels
  t.equal(kernel!.hasEvents, true)
  const { requests } = kernel!.cells[0]!
  t.ok(requests.length > 0)
  t.ok(requests.every(({ guestFromMs, guestToMs }) => guestFromMs! <= guestToMs!))
})

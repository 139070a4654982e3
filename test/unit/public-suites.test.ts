/** `make public-suites`: the cases of each suite, and the meaning of their results. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { EXPUNGED } from '../../vm/measure/suites/expunged.js'
import { checkPlace, SUITES } from '../../vm/measure/suites/suites.js'

function lay(t: Test, files: Readonly<Record<string, string>>): string {
  const dir = t.testdir()
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true })
    writeFileSync(join(dir, name), text)
  }
  return dir
}

t.test('pjdfstest: each .t file; skipped is what runs no test', async (t) => {
  const { pjdfstest } = SUITES
  const path = lay(t, { 'tests/misc.sh': '', 'tests/open/00.t': '', 'tests/chmod/01.t': '' })
  t.throws(() => pjdfstest.cases(path), { message: /not built/ })
  writeFileSync(join(path, 'pjdfstest'), '')
  t.same(pjdfstest.cases(path), ['chmod/01.t', 'open/00.t'])
  t.equal(pjdfstest.outcomeOf(0, 'All tests successful.'), 'pass')
  t.equal(pjdfstest.outcomeOf(0, 'Result: NOTESTS'), 'skip')
  t.equal(pjdfstest.outcomeOf(1, 'Result: FAIL'), 'fail')
  checkPlace(pjdfstest, path)
  t.throws(() => checkPlace(SUITES.ltp, path), { message: /is no LTP/ })
})

t.test('LTP: system calls on files that were built; TCONF alone is skipped', async (t) => {
  const { ltp } = SUITES
  const path = lay(t, {
    'runtest/syscalls': '#DESC\nopen01 open01\nrename14 rename14 -x 1\nfork01 fork01\nmkdir09 mkdir09\n',
    'testcases/bin/open01': '',
    'testcases/bin/rename14': '',
    'testcases/bin/fork01': '',
  })
  t.same(ltp.cases(path), ['open01', 'rename14'])
  t.match(ltp.command('rename14', path), /TMPDIR=\$PWD LTP_TIMEOUT_MUL=5 rename14 -x 1 2>&1$/)
  t.same(
    [0, 32, 1, 2, 33, null].map((status) => ltp.outcomeOf(status, '')),
    ['pass', 'skip', 'fail', 'fail', 'fail', 'fail'],
  )
  t.equal(ltp.outcomeOf(2, 'TBROK: Failed to acquire device'), 'skip')
})

t.test('xfstests: generic cases of the group quick', async (t) => {
  const { xfstests } = SUITES
  const path = lay(t, {
    'src/af_unix': '',
    'tests/generic/001': '. ./common/preamble\n_begin_fstest rw auto quick\n',
    'tests/generic/001.out': '_begin_fstest quick',
    'tests/generic/069': '_begin_fstest rw udf auto\n',
  })
  t.same(xfstests.cases(path), ['generic/001'])
  const command = xfstests.command('generic/001', path)
  t.match(
    command,
    /fsgqa:2001.*LD_LIBRARY_PATH=.*cd \/run\/supplies && .*check generic\/001 2>&1$/,
    'users, then the case',
  )
  t.equal(spawnSync('bash', ['-n', '-c', command]).status, 0)
  t.equal(xfstests.outcomeOf(0, 'generic/001 [not run] no reflink'), 'skip')
  t.equal(xfstests.outcomeOf(0, 'Passed all 1 tests'), 'pass')
  t.equal(xfstests.outcomeOf(1, 'Failed 1 of 1 tests'), 'fail')
})

t.test('each case that is not run has a reason and a suite', async (t) => {
  const names = Object.values(SUITES).map(({ name }) => name)
  for (const [name, reason] of Object.entries(EXPUNGED)) {
    t.ok(names.includes(name.split(' ')[0] ?? ''), name)
    t.ok(reason.length > 10)
  }
})

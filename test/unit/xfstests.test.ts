/** `make xfstests`: the cases that are run, and their tables and files. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { chooseCases, whyExpunged, XFSTESTS_EXPUNGED } from '../../vm/measure/suites/xfstests-cases.js'
import {
  type CaseResult,
  type RunResult,
  readBaseline,
  regressions,
  resultTable,
  xunitXml,
} from '../../vm/measure/suites/xfstests-results.js'

function layTests(t: Test): string {
  const path = t.testdir()
  const tests = {
    'generic/002': '. ./common/preamble\n_begin_fstest metadata auto quick\n',
    'generic/001': '_begin_fstest rw auto quick\n',
    'generic/001.out': 'QA output created by 001\n_begin_fstest quick\n',
    'generic/013': '_begin_fstest other ioctl udf auto\n',
    'xfs/001': '_begin_fstest auto quick\n',
  }
  for (const [name, text] of Object.entries(tests)) {
    const file = join(path, 'tests', name)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
  return path
}

t.test('a group has the generic cases that name it, in order; names come as they are', async (t) => {
  const path = layTests(t)
  t.same(chooseCases(path, { group: 'quick' }), ['generic/001', 'generic/002'])
  t.same(chooseCases(path, { group: 'ioctl' }), ['generic/013'])
  t.same(chooseCases(path, { group: 'quick', tests: 'xfs/001, generic/013' }), ['xfs/001', 'generic/013'])
  t.throws(() => chooseCases(path, { group: 'nope' }), {
    name: 'SetupError',
    message: /no test of the group/,
  })
  t.throws(() => chooseCases(path, { group: 'quick', tests: 'generic/999' }), { message: /has no test/ })
})

t.test('a case is left out on the kernels that it names, or on all', async (t) => {
  const list = [
    { name: 'generic/001', reason: 'endless' },
    { name: 'generic/002', releases: /^6\.1\./, reason: 'mended later' },
  ]
  t.equal(whyExpunged('generic/001', '7.2.1', list), 'endless')
  t.equal(whyExpunged('generic/002', '6.1.0-50', list), 'mended later')
  t.equal(whyExpunged('generic/002', '6.12.1', list), undefined)
  t.equal(whyExpunged('generic/003', '6.1.0', list), undefined)
  for (const { name, reason } of XFSTESTS_EXPUNGED) {
    t.match(name, /^generic\/\d+$/)
    t.ok(reason.length > 10, name)
  }
})

function makeRun(device: string, outcomes: readonly CaseResult['outcome'][]): RunResult {
  const cases = outcomes.map(
    (outcome, n): CaseResult => ({
      name: `generic/00${n + 1}`,
      outcome,
      seconds: 1.5,
      details: outcome === 'pass' ? '' : 'a <b>\x1b',
    }),
  )
  return { device, release: '6.12.1', policy: 'auto', cases }
}

t.test('the table has the cases that do not pass everywhere, and all counts', async (t) => {
  const ours = makeRun('ours', ['pass', 'fail', 'skip', 'fail', 'not run'])
  const peer = makeRun('peer', ['pass', 'pass', 'skip', 'fail', 'not run'])
  const table = resultTable([
    { title: 'ours', run: ours },
    { title: 'peer', run: peer },
  ])
  t.equal(
    table,
    [
      'case         ours  peer',
      '-----------  ----  ----',
      'generic/002  fail  pass',
      'generic/004  fail  fail',
      'pass         1     2',
      'fail         2     1',
      'skip         1     1',
      'not run      1     1',
      '',
    ].join('\n'),
  )
  t.same(regressions(ours, peer), ['generic/002'])
  t.same(regressions(peer, ours), [])
})

t.test('a result is a baseline; other files are refused', async (t) => {
  const run = makeRun('ours', ['pass'])
  const dir = t.testdir({ 'old.json': JSON.stringify([run]), 'other.json': '{}' })
  t.same(readBaseline(join(dir, 'old.json')), run)
  t.throws(() => readBaseline(join(dir, 'other.json')), { name: 'SetupError' })
  t.throws(() => readBaseline(join(dir, 'nope.json')), { name: 'SetupError', message: /cannot be read/ })
})

t.test('xunit: a suite for each device', async (t) => {
  const xml = xunitXml([makeRun('ours', ['pass', 'fail', 'skip'])])
  t.match(xml, '<testsuite name="xfstests on ours, auto, Linux 6.12.1" tests="3" failures="1" skipped="1">')
  t.match(xml, '<testcase classname="xfstests" name="generic/001" time="1.5"/>')
  t.match(xml, '<failure>a &lt;b&gt;?</failure>')
  t.match(xml, '<skipped message="a &lt;b&gt;?"/>')
})

/** KTAP and JUnit XML of the lab, read by the kernel's own parser and checked by a schema. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { findInPath } from '../../vm/host/find-in-path.js'
import type { Cell, KernelResult, LabResult } from '../../vm/lab/result.js'
import { junitXml, ktapText } from '../../vm/lab/test-formats.js'
import { SOURCE_NAMES } from '../../vm/lab/tree/kernel-source.js'
import { cacheRoot } from '../../vm/packages/cache.js'

const SCHEMA = fileURLToPath(new URL('../../../test/support/junit.xsd', import.meta.url))

const good: Cell = {
  ...{
    case: 'overlap/append',
    share: 'parallel+mmap',
    expected: '1',
    observed: '1',
    evidence: '1 in flight',
  },
  ...{ verdict: 'as expected', ms: 1234, phases: [], requests: [], trouble: [] },
  ...{ stream: undefined, recording: undefined, trace: undefined },
}
const bad: Cell = {
  ...good,
  ...{ share: 'parallel', observed: '8 # <not> "1" & \u0007', verdict: 'unexpected' },
  trouble: ['BUG: KASAN: use-after-free\nok 1 not a result\n1..2'],
  trace: ['12:00:00  q1  WRITE'],
}
const absent: Cell = {
  ...good,
  share: 'direct',
  expected: undefined,
  observed: undefined,
  verdict: 'not applicable',
}
const theirs: Cell = { ...absent, share: 'keep', needs: 'our device' }

function result(...releases: string[]): LabResult {
  const kernel = (release: string): KernelResult => ({
    ...{
      kernel: release,
      server: 'virtiofsd-ts',
      hasEvents: true,
      release,
      fuse: '7.41',
      judgedAs: undefined,
    },
    ...{ accelerator: 'tcg', bootMs: 4000, ms: 50_000, isComplete: true, transitions: [] },
    cells: [good, bad, absent, theirs],
  })
  return { startedAt: '2026-01-02T03:04:05Z', kernels: releases.map(kernel) }
}

const names = [
  'overlap/append@parallel+mmap',
  'overlap/append@parallel',
  'overlap/append@direct',
  'overlap/append@keep',
]
const tree = SOURCE_NAMES.map((name) => join(cacheRoot(), `linux-source-${name}`)).find((dir) =>
  existsSync(join(dir, 'tools/testing/kunit/kunit.py')),
)

interface Group {
  readonly name: string
  readonly sub_groups: Group[]
  readonly test_cases: { name: string; status: string }[]
}

/** The result of tools/testing/kunit for KTAP. */
function parseAsKernelsDo(ktap: string, dir: string): Group {
  const [input, output] = [join(dir, 'ktap'), join(dir, 'json')]
  writeFileSync(input, ktap)
  const { stderr } = spawnSync(
    'python3',
    ['tools/testing/kunit/kunit.py', 'parse', input, `--json=${output}`],
    {
      cwd: tree!,
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
      encoding: 'utf8',
    },
  )
  if (!existsSync(output)) throw new Error(stderr)
  return JSON.parse(readFileSync(output, 'utf8')) as Group
}

const noParser = tree === undefined && 'no kernel source in the cache: make lab-mutants fetches one'
t.test("KTAP by the kernel's own parser", { skip: noParser }, async (t) => {
  const statuses = ['PASS', 'FAIL', 'SKIP', 'SKIP']
  const cases = names.map((name, n) => ({ name, status: statuses[n] }))
  t.match(parseAsKernelsDo(ktapText(result('6.12.117')), t.testdir()), { test_cases: cases }, 'one kernel')
  const two = parseAsKernelsDo(ktapText(result('6.12.117', '7.3.4')), t.testdir())
  t.same(
    two.sub_groups.map(({ name }) => name),
    ['Linux 6.12.117', 'Linux 7.3.4'],
    'two kernels are a group each',
  )
  for (const { test_cases } of two.sub_groups) t.match(test_cases, cases)
})

t.test('lines of a diagnosis are not taken for results', async (t) => {
  const lines = ktapText(result('6.12')).split('\n')
  t.equal(lines.filter((line) => /^(not )?ok /.test(line)).length, 4)
  t.equal(lines.filter((line) => /^1\.\./.test(line)).length, 1)
})

const noXmllint =
  findInPath('xmllint') === undefined && 'xmllint (Debian package libxml2-utils) is not installed'
t.test('the JUnit XML is valid by its schema', { skip: noXmllint }, async (t) => {
  const check = (xml: string) => {
    const { status, stderr } = spawnSync('xmllint', ['--noout', '--schema', SCHEMA, '-'], {
      input: xml,
      encoding: 'utf8',
    })
    return { isValid: status === 0, stderr }
  }
  const xml = junitXml(result('6.12.117', '7.3.4'))
  t.match(check(xml), { isValid: true })
  t.match(check(xml.replace(' failures="1"', '')), { isValid: false }, 'the schema refuses')
  t.match(check(xml.replace('name="keep"', 'name="direct"')), { isValid: false }, 'names are unique')
})

/** The lab's verdicts, and how it reports them. */
import { statSync } from 'node:fs'
import t from 'tap'
import { labPage } from '../../vm/lab/html-report.js'
import { reproScript, writeRepro } from '../../vm/lab/repro.js'
import { type Cell, judge, type KernelResult, type LabResult, verdictOf } from '../../vm/lab/result.js'
import { junitXml, ktapHead, ktapLine } from '../../vm/lab/test-formats.js'
import {
  cellText,
  columnTitle,
  matrixText,
  sharesText,
  summaryText,
  transitionTables,
  unexpectedText,
} from '../../vm/lab/text-report.js'
import { timelineChart } from '../../vm/lab/timeline.js'
import { transitionsIn } from '../../vm/lab/transitions.js'

const good: Cell = {
  case: 'overlap/non-extending',
  share: 'parallel',
  expected: '8',
  observed: '8',
  evidence: '8 in flight',
  verdict: 'as expected',
  ms: 100,
  phases: [],
  requests: [],
  stream: undefined,
  trouble: [],
  recording: undefined,
  trace: undefined,
}
const bad: Cell = {
  ...good,
  observed: '1',
  evidence: '1 in flight',
  verdict: 'unexpected',
  trace: Array.from({ length: 120 }, (_, n) => `line ${n}`),
}
const absent: Cell = { ...good, expected: undefined, observed: undefined, verdict: 'not applicable' }

function result(...kernels: [release: string, cells: Cell[]][]): LabResult {
  return {
    startedAt: '2026-01-02T03:04:05Z',
    kernels: kernels.map(
      ([release, cells]): KernelResult => ({
        kernel: release,
        server: 'virtiofsd-ts',
        hasEvents: true,
        release: `${release}-cloud`,
        fuse: '7.41',
        judgedAs: undefined,
        accelerator: 'tcg',
        bootMs: 4000,
        ms: 50_000,
        isComplete: true,
        cells,
        transitions: transitionsIn(cells),
      }),
    ),
  }
}

t.test('observations are compared word for word', async (t) => {
  t.equal(judge('8 > 1 > 8', '8 > 1 > 8', []), 'as expected')
  t.equal(judge('8 > 1 > 8', '8 > 8 > 8', []), 'unexpected')
  t.equal(judge('8', 'failed', []), 'unexpected')
  t.equal(judge('8', undefined, []), 'not applicable', 'the guest cannot do it')
  t.equal(judge(undefined, undefined, []), 'not applicable')
  for (const observed of ['8', undefined])
    t.equal(judge('8', observed, ['BUG: in fs/fuse/file.c']), 'unexpected', 'a kernel that complains')
})

t.test('one unexpected cell of one kernel decides', async (t) => {
  t.equal(verdictOf(result(['6.12', [good, absent]], ['7.3', [good]])), 'as expected')
  t.equal(verdictOf(result(['6.12', [good]], ['7.3', [good, bad]])), 'unexpected')
  t.equal(verdictOf(result(['6.12', [absent]])), 'not applicable', 'a matrix that says nothing')
  t.equal(verdictOf(result()), 'not applicable')
})

t.test('an unexpected cell is shown with all there is, and the end of its trace', async (t) => {
  const [kernel] = result(['6.12', [bad]]).kernels
  const text = unexpectedText(
    { ...kernel!, judgedAs: 'the rules of FUSE 7.39' },
    { ...bad, trouble: ['WARNING: a\nb'] },
  )
  t.match(text, 'UNEXPECTED: overlap/non-extending on parallel, Linux 6.12-cloud, FUSE 7.41')
  t.match(text, 'expected   8, by the rules of FUSE 7.39')
  t.match(text, 'observed   1')
  t.match(text, '  kernel     WARNING: a\n  kernel     b\n')
  t.match(text, '120 requests, the last 100:')
  t.notMatch(text, 'line 19\n')
  t.match(text, '    line 20\n')
  t.match(text, 'line 119\n')
})

t.test('the matrix puts shares with the same outcomes into one row', async (t) => {
  const shares = ['parallel', 'parallel+mmap', 'direct'] as const
  const cells = (observed: string): Cell[] => [
    ...shares.slice(0, 2).map((share) => ({ ...good, share })),
    { ...good, share: 'direct', expected: '1', observed, verdict: judge('1', observed, []) },
  ]
  const text = matrixText(result(['6.1.176', cells('1')], ['6.12.117', cells('8')], ['7.3', [absent]]))
  t.equal(
    text,
    [
      'Linux                      6.1.176  6.12.117          7.3',
      'FUSE                       7.41     7.41              7.41',
      '-------------------------  -------  ----------------  ----',
      'overlap/non-extending: writes within a file: in flight at once, of 8 synchronous writers',
      '  parallel, parallel+mmap  8        8                 -',
      '  direct                   1        ! 8 (expected 1)  -',
      '',
    ].join('\n'),
  )
  t.match(summaryText(result(['6.1', cells('1')])), /^the matrix is as expected: 3 cells as expected, 0 un/)
  t.match(summaryText(result(['6.1', cells('8')])), /NOT AS EXPECTED: 2 cells as expected, 1 unexpected/)
  t.match(
    sharesText(result(['6.1', cells('1')])),
    /^parallel +--cache never --parallel-dio, and --cache auto for/m,
  )
})

t.test('requests that were in flight together lie above each other in a timeline', async (t) => {
  const request = (fromMs: number, toMs: number, opcode = 'WRITE') => ({
    ...{ opcode, fromMs, toMs, path: 'f', offsetBytes: 0, sizeBytes: 4096, cached: false, error: 0 },
  })
  const lanes = (...requests: ReturnType<typeof request>[]) => {
    const chart = timelineChart([{ kernel: '6.12', cell: { ...good, requests } }])
    return chart?.marks
      .find(({ mark }) => mark === 'barX')
      ?.data?.map((bar) => (bar as { lane: number }).lane)
  }
  t.same(lanes(request(5, 10), request(0, 5), request(10, 12)), [0, 0, 0])
  t.same(lanes(request(0, 9), request(1, 3), request(2, 9), request(4, 5)), [0, 1, 2, 1])
  t.equal(lanes(request(0, 1, 'OPEN')), undefined, 'only opens: nothing to show')
})

t.test('the page shows every cell, and opens what is unexpected', async (t) => {
  const page = labPage(result(['6.12.117', [good]], ['7.3.4', [{ ...bad, evidence: '<b>&' }]]))
  t.match(page, /<td class="outcome bad"><a href="#overlap-non-extending-parallel">! 1 \(expected 8\)<\/a>/)
  t.match(page, /<details open>/)
  t.match(page, '&lt;b&gt;&amp;')
  t.match(page, 'line 0\n')
  t.notMatch(labPage(result(['6.12.117', [good]])), /<details open>/)
})

t.test('transitions are a table for each share, with what was expected', async (t) => {
  const meet = (from: string, share: string, expected: string, observed: string): Cell => {
    return {
      ...good,
      case: `transition/${from}`,
      share,
      expected,
      observed,
      verdict: judge(expected, observed, []),
    }
  }
  const kernels = result([
    '7.3.4',
    [
      meet('cached', 'modes', 'cached: allowed, direct: allowed', 'cached: allowed, direct: EIO'),
      meet('writing', 'modes', 'cached: waits, direct: allowed', 'cached: waits, direct: allowed'),
      good,
    ],
  ])
  t.equal(
    transitionTables(kernels),
    [
      'Opens that meet, on modes, 7.3.4:',
      'from \\ to  cached   direct',
      '---------  -------  ------------------------',
      'cached     allowed  ! EIO (expected allowed)',
      'writing    waits    allowed',
      '',
    ].join('\n'),
  )
  t.same(kernels.kernels[0]!.transitions[1], {
    ...{ share: 'modes', from: 'cached', to: 'direct', expected: 'allowed', observed: 'EIO' },
  })
  t.match(labPage(kernels), /<td class="bad">! EIO \(expected allowed\)<\/td>/)
  t.equal(transitionTables(result(['6.1', [good]])), '', 'no table without such cells')
})

t.test('a cell that another server cannot run says so, and is no failure', async (t) => {
  const needs: Cell = { ...absent, needs: 'our device' }
  const kernels = result(['6.12', [good, needs]])
  t.equal(cellText(needs), '(needs our device)')
  t.equal(verdictOf(kernels), 'as expected')
  const [kernel] = kernels.kernels
  t.equal(columnTitle({ ...kernel!, server: 'dev-fuse' }), '6.12 dev-fuse')
  t.match(ktapLine(1, needs), /# SKIP needs our device/)
})

t.test('a repro.sh has every command that was run, and the one that runs the cell', async (t) => {
  const recording = {
    qemu: 'qemu -smp 2',
    servers: ['node main.js'],
    steps: ['io-actor 1: open f 2 /x', 'device: release'],
  }
  const [kernel] = result(['6.12', [bad]]).kernels
  const script = reproScript(kernel!, { ...bad, recording }, ['--kernels', '6.12', '--shares', "a b'c"])
  t.match(
    script,
    /^#!\/bin\/sh\n# overlap\/non-extending on parallel, Linux 6.12-cloud, FUSE 7.41, virtiofsd-ts\n/,
  )
  for (const line of [
    '#   qemu -smp 2',
    '#   node main.js',
    '#   io-actor 1: open f 2 /x',
    '#   device: release',
  ])
    t.match(script, `\n${line}\n`)
  t.match(script, /\nexec \S+ \S+\/lab\.js --kernels 6\.12 --shares 'a b'\\''c' "\$@"\n$/)
  const path = writeRepro(t.testdir(), kernel!, { ...bad, recording }, [])
  t.match(path, /\/6\.12\/overlap-non-extending@parallel\/repro\.sh$/)
  t.equal(statSync(path).mode & 0o111, 0o111)
})

t.test("the guest's side of a request surrounds its bar", async (t) => {
  const request = {
    ...{
      opcode: 'WRITE',
      path: 'f',
      fromMs: 5,
      toMs: 7,
      offsetBytes: 0,
      sizeBytes: 4096,
      cached: false,
      error: 0,
    },
    ...{ guestFromMs: 4, guestToMs: 9 },
  }
  const chart = timelineChart([{ kernel: '7.3', cell: { ...good, requests: [request] } }])
  const [bar] = chart!.marks.find(({ mark }) => mark === 'barX')!.data as Record<string, unknown>[]
  t.match(bar, { fromMs: 1, toMs: 3, guestFromMs: 0, guestToMs: 5 })
  t.match(bar!['title'], 'the guest sent it 1.00 ms before, and was done 2.00 ms after')
})

t.test('KTAP has a line for each cell, with what is wrong before it', async (t) => {
  t.equal(ktapHead(3), 'KTAP version 1\n1..3\n')
  t.equal(ktapLine(1, good), 'ok 1 overlap/non-extending@parallel\n')
  t.equal(ktapLine(2, absent), 'ok 2 overlap/non-extending@parallel # SKIP does not apply\n')
  t.equal(
    ktapLine(3, { ...bad, trouble: ['WARNING: a\nb'] }),
    '# expected: 8\n# observed: 1\n# WARNING: a\n# b\nnot ok 3 overlap/non-extending@parallel\n',
  )
})

t.test('JUnit XML has a suite for each kernel', async (t) => {
  const xml = junitXml(result(['6.12', [good, { ...bad, evidence: '<1> "\u0001"' }, absent]]))
  t.match(xml, '<testsuite name="Linux 6.12-cloud" tests="3" failures="1" skipped="1" time="50.000">')
  t.match(xml, '<failure message="expected 8, observed 1">&lt;1&gt; &quot;?&quot;\nline 0\n')
  t.match(xml, '<testcase classname="overlap/non-extending" name="parallel" time="0.100"/>')
})

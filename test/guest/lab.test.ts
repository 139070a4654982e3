/**
 * A short `make lab`: one kernel and the most telling cases. The kernel does what the lab expects, the page shows it,
 * and a kernel that does not is noticed.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t from 'tap'
import type { LabResult } from '../../vm/lab/result.js'
import { findChromium, viewPage } from '../../vm/report/chromium.js'
import { tempDir } from '../support/host/temp-dir.js'

const LAB = fileURLToPath(new URL('../../vm/lab.js', import.meta.url))
const COMPARE = fileURLToPath(new URL('../../vm/lab-compare.js', import.meta.url))
const TELLING = '{overlap,io-mode}/*'

t.setTimeout(600_000)

async function runLab(...args: string[]) {
  const { exitCode, stdout, stderr } = await execa(process.execPath, [LAB, ...args], { reject: false })
  return { status: exitCode, stdout, stderr }
}

t.test('a kernel that keeps the rules of its version passes', async (t) => {
  const [json, page] = ['lab.json', 'lab.html'].map((name) => join(tempDir(t), name)) as [string, string]
  const { status, stdout, stderr } = await runLab(
    ...['--kernels', '6.12', '--cases', TELLING, '--json', json, '--html', page],
  )
  t.equal(status, 0, stderr)
  t.match(stdout, /^ {2}direct +1$/m, 'one write at a time without the flag')
  t.match(stdout, /^ {2}parallel, parallel\+mmap +8$/m, 'eight with it')
  t.match(stdout, '8 > 1 > 1 > 8')
  const { kernels } = JSON.parse(readFileSync(json, 'utf8')) as LabResult
  const [kernel] = kernels
  t.match(kernel, { kernel: '6.12', release: /^6\.12\./, fuse: '7.41', judgedAs: undefined })
  const parallel = kernel?.cells.find(
    ({ case: name, share }) => name === 'overlap/non-extending' && share === 'parallel',
  )
  t.match(parallel, { expected: '8', observed: '8', verdict: 'as expected', evidence: /^8 in flight/ })
  const writes = parallel?.requests.filter(({ opcode }) => opcode === 'WRITE') ?? []
  t.equal(writes.length, 8)
  const lastBegin = Math.max(...writes.map(({ fromMs }) => fromMs))
  t.ok(
    writes.every(({ toMs }) => toMs >= lastBegin),
    'the trace says the same: each was in flight when the last began',
  )
  t.ok(
    writes.every(({ guestFromMs, guestToMs }) => guestFromMs! <= guestToMs!),
    'each has its events of the guest',
  )

  const browser = await findChromium()
  const skip = browser === undefined && 'no browser is installed, and only root can install one'
  await t.test('its page opens in a browser', { skip }, async (t) => {
    const { errors, charts, drawnCharts, text } = await viewPage(browser!, page)
    t.same(errors, [])
    t.ok(charts > 10, `${charts} timelines`)
    t.equal(drawnCharts, charts)
    t.match(text, 'Linux 6.12')
    t.match(text, '8 > 1 > 1 > 8')
  })
})

t.test('a kernel that breaks the rules of its version fails', async (t) => {
  const { status, stdout } = await runLab(
    ...['--kernels', '6.12', '--cases', 'io-mode/mapped', '--judge-as', '7.39'],
  )
  t.equal(status, 1)
  t.match(stdout, 'UNEXPECTED: io-mode/mapped on parallel+mmap, Linux 6.12')
  t.match(stdout, 'expected   1 > 1 > 1 > 1, by the rules of FUSE 7.39')
  t.match(stdout, 'observed   8 > 1 > 1 > 8')
  t.match(stdout, /WRITE .* 4096@28672 .*overlap=8/, 'with its trace')
  t.match(stdout, '! 8 > 1 > 1 > 8 (expected 1 > 1 > 1 > 1)', 'in the matrix')
  t.match(stdout, 'THE MATRIX IS NOT AS EXPECTED: 0 cells as expected, 1 unexpected')
})

t.test(
  'two runs of one kernel send the same requests, also where the kernel decides when it writes back',
  async (t) => {
    const cases = '{cache/small-writes,data/{large-write,gaps,unaligned,copy-across},transition/cached}'
    const args = ['6.12', '6.12', '--cases', cases, '--shares', '{writeback,modes}']
    const { exitCode, stdout } = await execa(process.execPath, [COMPARE, ...args], { reject: false })
    t.equal(exitCode, 0, stdout)
    t.match(stdout, '0 of 6 cells differ')
  },
)

/**
 * A short `make bench`: fio and metadata work once, on our device and the peer in one guest; its table, JSON and page.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t from 'tap'
import type { BenchResult } from '../../vm/measure/bench/report.js'
import { findChromium, viewPage } from '../../vm/report/chromium.js'
import { runProgram } from '../support/device/program.js'
import { tempDir } from '../support/host/temp-dir.js'

const BENCH = fileURLToPath(new URL('../../vm/bench.js', import.meta.url))
const KINDS = '{randread 4k psync direct,storm}'
const RESULTS = ['randread 4k psync direct', 'create', 'stat', 'readdir, entries', 'unlink']

t.setTimeout(300_000)

async function runBench(...args: string[]) {
  const { exitCode, stdout, stderr } = await execa(process.execPath, [BENCH, ...args], { reject: false })
  return { status: exitCode, stdout, stderr }
}

t.test('both devices are measured, in turn', async (t) => {
  const [json, page] = ['bench.json', 'bench.html'].map((name) => join(tempDir(t), name)) as [string, string]
  const { status, stdout, stderr } = await runBench(
    ...['--peer', 'virtiofsd-1.14', '--kernel', '6.12', '--cache', 'never', '--only', KINDS],
    ...['--quick', '--all', '--rounds', '1', '--json', json, '--html', page],
  )
  t.equal(status, 0, stderr)
  const { measurements, peer, guest } = JSON.parse(readFileSync(json, 'utf8')) as BenchResult
  t.equal(peer, 'virtiofsd-1.14')
  t.match(guest, /^Linux 6\.12/)
  t.same(
    measurements.map(({ workload }) => workload),
    RESULTS,
  )
  for (const { workload, ours, peer, ratio, deviceLatency } of measurements) {
    t.ok(ours.rate.median > 0 && ours.guestUs.median > 0, workload)
    t.ok(peer !== undefined && peer.rate.median > 0, 'and the peer')
    t.equal(ratio?.median, ours.rate.median / (peer?.rate.median ?? Number.NaN))
    t.ok(
      deviceLatency.every(({ count, p50Us }) => count > 0 && p50Us > 0) && deviceLatency.length > 0,
      `the device saw it too: ${JSON.stringify(deviceLatency)}`,
    )
    t.match(stdout, workload)
    t.match(stderr, `${workload}: `, 'while it ran')
  }
  t.match(stdout, /Against virtiofsd-1\.14: \d faster, \d the same within noise, \d slower\./)

  const browser = await findChromium()
  const skip = browser === undefined && 'no browser is installed, and only root can install one'
  await t.test('its page opens in a browser', { skip }, async (t) => {
    const { errors, charts, drawnCharts, text } = await viewPage(browser!, page)
    t.same(errors, [])
    t.equal(charts, 2)
    t.equal(drawnCharts, charts)
    t.match(text, /Ours against the peer[\s\S]*Where the time of a request goes[\s\S]*unlink/)
  })
})

t.test('bench runs as a command of the program', async (t) => {
  const { status, stdout } = runProgram(['bench', '--list', '--quick'])
  t.equal(status, 0)
  t.match(stdout, /^never +randread 4k psync direct$/m)
  t.match(stdout, /^auto +storm$/m)
})

t.test('wrong options are refused', async (t) => {
  t.match(await runBench('--peer', 'nonsense'), {
    status: 2,
    stderr: /^no peer nonsense: it is neither a program nor one of none, virtiofsd, /,
  })
  t.match(await runBench('--only', 'nonsense'), { status: 2, stderr: /^no case matches: --list/ })
  t.match(await runBench('--rounds', '0'), { status: 2, stderr: /^--rounds 0: not a positive number/ })
  t.match(await runBench('--dir', '/nonsense'), { status: 2, stderr: /^--dir \/nonsense: no such folder/ })
})

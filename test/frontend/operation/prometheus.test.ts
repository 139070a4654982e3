/** Debian's Prometheus scrapes --metrics. Its tools check the text, the alerts and the queries of the dashboard. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { collectedProgram } from '../../../vm/packages/collected-program.js'
import { Device, sleep } from '../../support/device/device.js'
import { RunningProgram, runProgram } from '../../support/device/program.js'
import { fetchOrSkip } from '../../support/fetch-or-skip.js'
import { freePort } from '../../support/free-port.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(300_000)

const file = (name: string) => new URL(`../../../../share/${name}`, import.meta.url).pathname
const RULES = file('prometheus/virtiofsd-ts.rules.yml')
const DASHBOARD = file('grafana/virtiofsd-ts.json')

/** Runs promtool. Throws an Error with its complaint. */
function promtool(dir: string, ...args: readonly string[]): string {
  const { command, args: first } = collectedProgram(dir, 'promtool')
  const { status, stdout, stderr } = runProgram([...first, ...args], [], [command])
  if (status !== 0) throw new Error(`promtool ${args.join(' ')}: ${stdout}${stderr}`)
  return `${stdout}${stderr}`
}

t.test('promtool and Prometheus accept metrics, alerts and dashboard', async (t) => {
  const dir = await fetchOrSkip(t, 'prometheus')
  if (dir === undefined) return
  const place = tempDir(t)
  const [port, ownPort] = [await freePort(), await freePort()]
  const device = await Device.start(
    t,
    ['--metrics', `${port}`, '--tag', 'data', '--quota-bytes', '1G', '--quota-inodes', '1000'],
    { sandbox: 'namespace' },
  )
  const fs = mount(t, device)
  for (let n = 0; n < 100; n++) fs.getattr(ROOT_ID)
  t.throws(() => fs.lookup(ROOT_ID, 'nothing'))

  t.test('promtool accepts the metrics and the rules', async (t) => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
    const page = join(place, 'page')
    writeFileSync(page, text)
    const { command, args } = collectedProgram(dir, 'promtool')
    const quoted = [command, ...args].map((word) => `'${word}'`).join(' ')
    const said = runProgram(['-c', `${quoted} check metrics < '${page}'`], [], ['sh'])
    t.same(said, { status: 0, stdout: '', stderr: '' })
    t.match(promtool(dir, 'check', 'rules', RULES), /SUCCESS: 8 rules found/)
  })

  t.test('each alert fires when it should, and not before', async (t) => {
    const tests = join(place, 'alerts.yml')
    writeFileSync(tests, alertTests())
    t.match(promtool(dir, 'test', 'rules', tests), /SUCCESS/)
  })

  t.test('Prometheus scrapes it, and answers each question of the dashboard and of the alerts', async (t) => {
    const config = join(place, 'prometheus.yml')
    const storage = join(place, 'storage')
    mkdirSync(storage)
    writeFileSync(
      config,
      `global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ['${RULES}']
scrape_configs:
  - job_name: virtiofsd-ts
    static_configs: [{ targets: ['127.0.0.1:${port}'] }]
`,
    )
    const { command, args } = collectedProgram(dir, 'prometheus')
    const words = [
      `--config.file=${config}`,
      `--storage.tsdb.path=${storage}`,
      `--web.listen-address=127.0.0.1:${ownPort}`,
    ]
    new RunningProgram(t, [...args, ...words], [], [], [command])
    const query = async (expr: string) => {
      const url = `http://127.0.0.1:${ownPort}/api/v1/query?query=${encodeURIComponent(expr)}`
      const answer = (await (await fetch(url)).json()) as {
        status: string
        error?: string
        data?: { result: { metric: Record<string, string>; value: [number, string] }[] }
      }
      if (answer.status !== 'success') throw new Error(`${expr}: ${answer.error}`)
      return answer.data?.result ?? []
    }
    const requests = 'virtiofsd_ts_requests_total{opcode="GETATTR",share="data"}'
    for (;;) {
      const [found] = await query(requests).catch(() => [])
      if (found?.value[1] === '100') break
      await sleep(200)
    }
    t.match(await query('up'), [{ value: [Number, '1'] }])
    t.match(await query('virtiofsd_ts_guest_mounted'), [{ value: [Number, '1'] }])
    t.match(await query('virtiofsd_ts_request_duration_seconds_count{opcode="GETATTR"}'), [
      { value: [Number, '100'] },
    ])
    const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as {
      panels: { title: string; targets: { expr: string }[] }[]
    }
    t.ok(panels.length >= 10)
    for (const { title, targets } of panels)
      for (const { expr } of targets) {
        const here = expr
          .replaceAll('$__rate_interval', '1m')
          .replaceAll('"$instance"', '".*"')
          .replaceAll('"$share"', '".*"')
        await t.resolves(query(here), `${title}: ${here}`)
        for (const [name] of here.matchAll(/virtiofsd_ts_\w+|process_\w+/g))
          t.ok((await query(name)).length > 0, `${name} is there`)
      }
    const rules = readFileSync(RULES, 'utf8')
    for (const [name] of rules.matchAll(/virtiofsd_ts_\w+/g))
      t.ok((await query(name)).length > 0, `${name} is there`)
    t.same(await query('ALERTS'), [], 'and nothing is wrong')
  })
})

/** The input of `promtool test rules`: series, and the alerts that have to fire. */
function alertTests(): string {
  const share = 'instance="h",share="a"'
  const cases: readonly (readonly [string, string, readonly string[]])[] = [
    ['VirtiofsdTsDown', '5m', ['up{job="virtiofsd-ts-1",instance="h"} 0x60']],
    [
      'VirtiofsdTsShareStuck',
      '5m',
      [`virtiofsd_ts_share_failed{${share}} 0x60`, `virtiofsd_ts_share_answers{${share}} 0x60`],
    ],
    ['VirtiofsdTsShareFailed', '5m', [`virtiofsd_ts_share_failed{${share}} 1x60`]],
    [
      'VirtiofsdTsErrors',
      '30m',
      [
        `virtiofsd_ts_requests_total{${share},opcode="WRITE"} 0+600x60`,
        `virtiofsd_ts_request_errors_total{${share},opcode="WRITE"} 0+60x60`,
      ],
    ],
    [
      'VirtiofsdTsSlow',
      '30m',
      [
        `virtiofsd_ts_request_duration_seconds_bucket{${share},opcode="READ",le="1.048576"} 0+0x60`,
        `virtiofsd_ts_request_duration_seconds_bucket{${share},opcode="READ",le="4.194304"} 0+60x60`,
        `virtiofsd_ts_request_duration_seconds_bucket{${share},opcode="READ",le="+Inf"} 0+60x60`,
      ],
    ],
    [
      'VirtiofsdTsOutOfDescriptors',
      '10m',
      [`virtiofsd_ts_descriptors{${share}} 95x60`, `virtiofsd_ts_descriptors_limit{${share}} 100x60`],
    ],
    [
      'VirtiofsdTsQuotaNearlyUsedUp',
      '10m',
      [`virtiofsd_ts_quota_used_bytes{${share}} 95x60`, `virtiofsd_ts_quota_bytes{${share}} 100x60`],
    ],
    ['VirtiofsdTsFaultsInForce', '10m', [`virtiofsd_ts_faults_applied_total{${share}} 0+6x60`]],
  ]
  const tests = cases.map(([alert, at, series]) => {
    const lines = series.map((one) => {
      const [name, values] = one.split('} ')
      return `      - { series: '${name}}', values: '${values}' }`
    })
    // promtool compares labels exactly. The number of alerts in force has no labels.
    return `  - interval: 1m
    input_series:
${lines.join('\n')}
    promql_expr_test:
      - { expr: 'count(ALERTS{alertname="${alert}",alertstate="firing"})', eval_time: ${at}, exp_samples: [{ labels: '{}', value: 1 }] }
      - { expr: 'count(ALERTS{alertname="${alert}",alertstate="firing"})', eval_time: 0m, exp_samples: [] }
`
  })
  return `rule_files: ['${RULES}']\nevaluation_interval: 1m\ntests:\n${tests.join('')}`
}

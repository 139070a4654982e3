import { type Chart, chartFigure } from '../../report/chart.js'
import { type Html, html } from '../../report/html.js'
import { renderPage } from '../../report/page.js'
import { relativeSpread } from '../statistics.js'
import type { Measurement } from './measure.js'
import { type BenchResult, deviceUs, intervalOf, rounded } from './report.js'

const ROW_PX = 24
const LABELS_PX = 290

/** Returns a page with the ratios, the rates behind them, and the parts of a request's time. */
export function benchPage(result: BenchResult): string {
  const { measurements, startedAt, command, host, guest, peer, rounds, runtimeMs, seconds } = result
  const policies = [...new Set(measurements.map(({ policy }) => policy))]
  const compared = measurements.some(({ ratio }) => ratio !== undefined)
  return renderPage({
    title: 'Guest I/O on virtiofsd-ts',
    subtitle: `${command}, ${new Date(startedAt).toUTCString()}, ${(seconds / 60).toFixed(0)} minutes.`,
    body: html`
<div class="cards">
<div class="card"><strong>Guest</strong><span class="muted">${guest}</span></div>
<div class="card"><strong>Host</strong><span class="muted">${host}</span></div>
<div class="card"><strong>Peer</strong><span class="muted">${peer ?? 'none: ours ran alone'}</span></div>
<div class="card"><strong>Rounds</strong><span class="muted">${rounds}, fio for ${(runtimeMs / 1000).toFixed(1)} s each, the sides in turn</span></div>
</div>
${compared ? ratioSection(measurements, policies) : undefined}
<h2>Where the time of a request goes</h2>
<p class="muted">Of ours: what the guest's program waits for, and how much of that passes in the device, from seen on the ring
to given back, on a logarithmic scale. The rest is the guest's kernel, the emulated processor, and waking up.</p>
${policies.map((policy) => latencySection(policy, ofPolicy(measurements, policy)))}
<h2>Figures</h2>
<div class="scroll">${figures(measurements, compared)}</div>
`,
  })
}

function ofPolicy(measurements: readonly Measurement[], wanted: string): Measurement[] {
  return measurements.filter(({ policy }) => policy === wanted)
}

function ratioSection(measurements: readonly Measurement[], policies: readonly string[]): Html {
  return html`<h2>Ours against the peer</h2>
<p class="muted">Rates of ours divided by those of the peer, pair by pair: above 1 ours is faster. A dot is the median, its line
the interval in which the true median lies with a confidence of 90 %.</p>
${policies.map((policy) => {
  const rows = ofPolicy(measurements, policy).filter(({ ratio }) => ratio !== undefined)
  return rows.length === 0 ? undefined : html`<h3>cache: ${policy}</h3>${chartFigure(ratioChart(rows))}`
})}`
}

function ratioChart(rows: readonly Measurement[]): Chart {
  const data = rows.map(({ workload, ratio, verdict }) => ({ workload, ...ratio, verdict }))
  return {
    options: {
      height: rows.length * ROW_PX + 60,
      marginLeft: LABELS_PX,
      x: { type: 'log', label: 'ratio', ticks: [0.25, 0.5, 1, 2, 4, 8], tickFormat: '~r', grid: true },
      y: { label: null, domain: data.map(({ workload }) => workload) },
      color: { domain: ['faster', 'same', 'slower'], range: ['#2a9d5c', '#888888', '#d1495b'], legend: true },
    },
    marks: [
      { mark: 'ruleX', data: [1] },
      {
        mark: 'link',
        data,
        options: { x1: 'low', x2: 'high', y1: 'workload', y2: 'workload', stroke: 'verdict', strokeWidth: 3 },
      },
      { mark: 'dot', data, options: { x: 'median', y: 'workload', fill: 'verdict', r: 5 } },
    ],
  }
}

function latencySection(policy: string, rows: readonly Measurement[]): Html {
  const data = rows.flatMap(({ workload, ours, deviceLatency }) => [
    { workload, where: 'guest', us: ours.guestUs.median },
    ...deviceUs(deviceLatency).map((us) => ({ workload, where: 'device', us })),
  ])
  return html`<h3>cache: ${policy}</h3>${chartFigure({
    options: {
      height: rows.length * ROW_PX + 60,
      marginLeft: LABELS_PX,
      x: { type: 'log', label: 'microseconds', tickFormat: '~s', grid: true },
      y: { label: null, domain: rows.map(({ workload }) => workload) },
      color: { domain: ['guest', 'device'], range: ['#5b7db1', '#e09f3e'], legend: true },
    },
    marks: [{ mark: 'dot', data, options: { x: 'us', y: 'workload', fill: 'where', r: 6 } }],
  })}`
}

function figures(measurements: readonly Measurement[], compared: boolean): Html {
  const peerHead = compared ? html`<th>peer</th><th>±</th><th>ratio</th><th>interval</th>` : undefined
  return html`<table>
<thead><tr><th>cache</th><th>workload</th><th>unit</th><th>ours</th><th>±</th>${peerHead}<th>guest us</th><th>device p50 us</th>
<th>device p99 us</th><th>CPU us</th>${compared ? html`<th>peer CPU us</th>` : undefined}</tr></thead>
<tbody>${measurements.map((measurement) => figureRow(measurement, compared))}</tbody>
</table>`
}

function figureRow(measurement: Measurement, compared: boolean): Html {
  const { policy, workload, unit, ours, peer, ratio, verdict, deviceLatency } = measurement
  const style = verdict === 'faster' ? 'good' : verdict === 'slower' ? 'bad' : ''
  const peerCells = html`<td>${peer && rounded(peer.rate.median)}</td><td>${peer && percent(peer.rate)}</td>
<td class="${style}">${ratio?.median.toFixed(2)}</td><td>${ratio && intervalOf(ratio)}</td>`
  const opcodes = (of: 'p50Us' | 'p99Us') =>
    deviceLatency.map((latency) => `${latency.opcode} ${latency[of].toFixed(0)}`).join(', ')
  return html`<tr><td>${policy}</td><td>${workload}</td><td>${unit}</td><td>${rounded(ours.rate.median)}</td><td>${percent(ours.rate)}</td>
${compared ? peerCells : undefined}<td>${ours.guestUs.median.toFixed(0)}</td><td>${opcodes('p50Us')}</td><td>${opcodes('p99Us')}</td>
<td>${ours.cpuUsPerOp.toFixed(1)}</td>${compared ? html`<td>${peer?.cpuUsPerOp.toFixed(1)}</td>` : undefined}</tr>\n`
}

function percent(estimate: Measurement['ours']['rate']): string {
  return `${(100 * relativeSpread(estimate)).toFixed(0)} %`
}

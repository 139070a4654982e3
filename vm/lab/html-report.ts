import { chartFigure } from '../report/chart.js'
import { type Html, html } from '../report/html.js'
import { renderPage } from '../report/page.js'
import { allCases } from './all-cases.js'
import type { LabCase } from './case.js'
import { optionSet, optionWords, type ShareName } from './option-sets.js'
import type { Cell, KernelResult, LabResult } from './result.js'
import { columnTitle, groupShares, shortRelease, summaryText, transitionRows } from './text-report.js'
import { timelineChart } from './timeline.js'

/** The matrix. Each cell links to its evidence and a timeline of its requests. */
export function labPage(result: LabResult): string {
  const { kernels, startedAt } = result
  const cases = allCases.filter(({ name }) =>
    kernels.some(({ cells }) => cells.some((cell) => cell.case === name)),
  )
  return renderPage({
    title: 'What the guest made of direct I/O',
    subtitle: `make lab, ${new Date(startedAt).toUTCString()}: ${summaryText(result)}.`,
    body: html`
<div class="cards">${kernels.map(kernelCard)}</div>
<h2>Matrix</h2>
<p class="muted">Each cell says what was observed, and leads to its evidence. A dash: the question makes no sense there.</p>
<div class="scroll">${matrix(cases, kernels)}</div>
${transitions(kernels)}
<h2>Shares</h2>
${sharesTable(cases)}
<h2>Evidence</h2>
<p class="muted">In the timelines a bar is a request of the guest, from seen on the ring to replied. Writers are held at a
gate in the device until all of them are in flight together, or until the guest is at rest: bars above each other were in
flight at once. The pale ends of a bar are the guest's own side of it: from the trace event fuse_request_send to
fuse_request_end.${withoutEvents(kernels)}</p>
${cases.map((labCase) => caseDetails(labCase, kernels))}
`,
  })
}

/** Names the kernels that have no trace events. */
function withoutEvents(kernels: readonly KernelResult[]): string {
  const names = kernels.filter(({ hasEvents }) => !hasEvents).map(columnTitle)
  return names.length === 0 ? '' : ` These kernels have no such events: ${names.join(', ')}.`
}

function kernelCard({
  release,
  fuse,
  judgedAs,
  accelerator,
  bootMs,
  ms,
  isComplete,
  cells,
}: KernelResult): Html {
  const unexpected = cells.filter(({ verdict }) => verdict === 'unexpected').length
  const badge = !isComplete
    ? html`<span class="badge bad">not complete</span>`
    : unexpected === 0
      ? html`<span class="badge good">as expected</span>`
      : html`<span class="badge bad">${unexpected} unexpected</span>`
  const rules = judgedAs === undefined ? undefined : html`<br>judged by ${judgedAs}`
  return html`<div class="card"><strong>Linux ${shortRelease(release)}</strong>
<span class="muted">${release}<br>FUSE ${fuse}, ${accelerator.toUpperCase()}, up in ${seconds(bootMs)}, ${cells.length} cells in ${seconds(ms)}${rules}</span><br>
${badge}</div>
`
}

function matrix(cases: readonly LabCase[], kernels: readonly KernelResult[]): Html {
  return html`<table>
<thead><tr><th>question</th><th>share</th>${kernels.map((kernel) => html`<th>${columnTitle(kernel)}</th>`)}</tr></thead>
<tbody>${cases.map((labCase) => matrixRows(labCase, kernels))}</tbody>
</table>
`
}

function matrixRows({ name, question }: LabCase, kernels: readonly KernelResult[]): Html[] {
  const groups = groupShares(name, kernels)
  return groups.map(({ shares, outcomes }, n) => {
    const head = html`<td rowspan="${groups.length}"><code>${name}</code><br><span class="muted">${question}</span></td>`
    const cells = kernels.map((kernel, at) => {
      const unexpected = shares.some((share) => findCell(kernel, name, share)?.verdict === 'unexpected')
      return html`<td class="${unexpected ? 'outcome bad' : 'outcome'}"><a href="#${anchorOf(name, shares[0]!)}">${outcomes[at]}</a></td>`
    })
    return html`<tr>${n === 0 ? head : undefined}<td>${shares.join(', ')}</td>${cells}</tr>\n`
  })
}

/** A table for each kernel and share. */
function transitions(kernels: readonly KernelResult[]): Html {
  const tables = kernels.flatMap((kernel) =>
    [...new Set(kernel.transitions.map(({ share }) => share))].map((share) => {
      const { head, rows } = transitionRows(kernel, share)
      return html`<h3>${share}, Linux ${columnTitle(kernel)}</h3>
<div class="scroll"><table><thead><tr><th>from \\ to</th>${head.map((to) => html`<th>${to}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map((cell) => html`<td class="${cell.startsWith('!') ? 'bad' : ''}">${cell}</td>`)}</tr>\n`)}</tbody></table></div>
`
    }),
  )
  if (tables.length === 0) return html``
  return html`<h2>Opens that meet</h2>
<p class="muted">Two opens of one inode. A row: what holds it. A column: what comes to it.</p>
${tables}`
}

function sharesTable(cases: readonly LabCase[]): Html {
  const names = [...new Set(cases.flatMap(({ shares }) => shares))]
  const rows = names.map(
    (name) => html`<tr><td>${name}</td><td><code>${optionWords(optionSet(name))}</code></td></tr>\n`,
  )
  return html`<table><thead><tr><th>share</th><th>options of virtiofsd-ts</th></tr></thead><tbody>${rows}</tbody></table>`
}

function caseDetails({ name, question, shares }: LabCase, kernels: readonly KernelResult[]): Html {
  const unexpected = kernels.some(({ cells }) =>
    cells.some((cell) => cell.case === name && cell.verdict === 'unexpected'),
  )
  return html`<details${unexpected ? html` open` : undefined}>
<summary><code>${name}</code> <span class="muted">${question}</span>${unexpected ? html` <span class="badge bad">unexpected</span>` : undefined}</summary>
<div>${shares.map((share) => shareEvidence(name, share, kernels))}</div>
</details>
`
}

function shareEvidence(name: string, share: ShareName, kernels: readonly KernelResult[]): Html {
  const found = kernels.flatMap((kernel) => {
    const cell = findCell(kernel, name, share)
    return cell === undefined ? [] : [{ kernel: columnTitle(kernel), cell }]
  })
  const chart = timelineChart(found)
  return html`<h3 id="${anchorOf(name, share)}">${share}</h3>
<table class="evidence"><thead><tr><th>kernel</th><th>observed</th><th>expected</th><th>evidence</th></tr></thead>
<tbody>${found.map(({ kernel, cell }) => evidenceRow(kernel, cell))}</tbody></table>
${found.map(({ cell }) => troubleOf(cell))}
${chart === undefined ? undefined : chartFigure(chart)}
`
}

function evidenceRow(kernel: string, cell: Cell): Html {
  const { observed = '-', expected = 'does not apply', evidence, verdict } = cell
  const style = verdict === 'unexpected' ? 'bad' : verdict === 'as expected' ? 'good' : 'muted'
  const parts = evidence.split(' | ').map((part, n) => html`${n === 0 ? undefined : html`<br>`}${part}`)
  return html`<tr><td>${kernel}</td><td class="${style}">${observed}</td><td>${expected}</td><td>${parts}</td></tr>\n`
}

function troubleOf({ trouble, trace }: Cell): Html {
  return html`${trouble.length === 0 ? undefined : html`<pre>${trouble.join('\n')}</pre>`}
${trace === undefined ? undefined : html`<details><summary>trace of ${trace.length} requests</summary><div><pre>${trace.join('\n')}</pre></div></details>`}`
}

function findCell({ cells }: KernelResult, name: string, share: string): Cell | undefined {
  return cells.find((cell) => cell.case === name && cell.share === share)
}

function anchorOf(name: string, share: string): string {
  return `${name}/${share}`.replaceAll(/[^\w-]+/g, '-')
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(0)} s`
}

import { type Html, html } from '../report/html.js'
import { renderPage } from '../report/page.js'
import type { Difference, StreamLine } from './compare.js'
import { shortRelease } from './text-report.js'

/** A page with the cells that differ, and both request streams side by side. */
export function comparePage(
  differences: readonly Difference[],
  titles: readonly [string, string],
  summary: string,
): string {
  const [left, right] = titles.map(shortRelease) as [string, string]
  return renderPage({
    title: 'What differs',
    subtitle: `${titles.join(' and ')}: ${summary}.`,
    body: html`<table><thead><tr><th>cell</th><th>${left}</th><th>${right}</th><th>requests</th></tr></thead>
<tbody>${differences.map(summaryRow)}</tbody></table>
${differences.filter(({ stream }) => stream.length > 0).map((difference) => streamTable(difference, left, right))}
`,
  })
}

function summaryRow({ case: name, share, observed: [a, b], stream }: Difference): Html {
  const observed = a === b ? 'muted' : 'bad'
  const requests = stream.length === 0 ? html`alike` : html`<a href="#${anchorOf(name, share)}">differ</a>`
  return html`<tr><td><code>${name}</code> on ${share}</td><td class="${observed}">${a}</td><td class="${observed}">${b}</td><td>${requests}</td></tr>\n`
}

function anchorOf(name: string, share: string): string {
  return encodeURIComponent(`${name}@${share}`)
}

function streamTable({ case: name, share, stream }: Difference, left: string, right: string): Html {
  return html`<h3 id="${anchorOf(name, share)}"><code>${name}</code> on ${share}</h3>
<table class="streams"><thead><tr><th>${left}</th><th>${right}</th></tr></thead><tbody>${stream.map(streamRow)}</tbody></table>
`
}

function streamRow({ side, text }: StreamLine): Html {
  const cell = (isThere: boolean): Html =>
    isThere
      ? html`<td class="${side === 'both' ? 'muted' : 'bad'}"><code>${text}</code></td>`
      : html`<td></td>`
  return html`<tr>${cell(side !== 'right')}${cell(side !== 'left')}</tr>\n`
}

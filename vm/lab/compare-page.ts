import { type Html, html } from '../report/html.js'
import { renderPage } from '../report/page.js'
import type { Difference, StreamLine } from './compare.js'

/** A page with the cells that differ, and both request streams side by side. */
export function comparePage(
  differences: readonly Difference[],
  [left, right]: readonly [string, string],
  summary: string,
): string {
  return renderPage({
    title: 'What differs',
    subtitle: `${left} and ${right}: ${summary}.`,
    body: html`<table><thead><tr><th>cell</th><th>${left}</th><th>${right}</th></tr></thead>
<tbody>${differences.map(({ case: name, share, observed: [a, b] }) => html`<tr><td><code>${name}</code> on ${share}</td><td>${a}</td><td>${b}</td></tr>`)}</tbody></table>
${differences.filter(({ stream }) => stream.length > 0).map((difference) => streamTable(difference, left, right))}
`,
  })
}

function streamTable({ case: name, share, stream }: Difference, left: string, right: string): Html {
  return html`<h3><code>${name}</code> on ${share}</h3>
<table class="evidence"><thead><tr><th>${left}</th><th>${right}</th></tr></thead><tbody>${stream.map(streamRow)}</tbody></table>
`
}

function streamRow({ side, text }: StreamLine): Html {
  const cell = (isThere: boolean): Html =>
    isThere
      ? html`<td class="${side === 'both' ? 'muted' : 'bad'}"><code>${text}</code></td>`
      : html`<td></td>`
  return html`<tr>${cell(side !== 'right')}${cell(side !== 'left')}</tr>\n`
}

/** A report page in a real browser: its charts are drawn, and it asks for nothing outside of itself. */
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { chartFigure } from '../../vm/report/chart.js'
import { findChromium, viewPage } from '../../vm/report/chromium.js'
import { type Html, html } from '../../vm/report/html.js'
import { renderPage } from '../../vm/report/page.js'
import { tempDir } from '../support/host/temp-dir.js'

t.setTimeout(300_000)

const bars = [
  { lane: 0, from: 0, to: 5 },
  { lane: 1, from: 2, to: 9 },
]
const chart = chartFigure(
  { marks: [{ mark: 'barX', data: bars, options: { x1: 'from', x2: 'to', y: 'lane', tip: true } }] },
  'two bars',
)

const browser = await findChromium()
const skip = browser === undefined && 'no browser is installed, and only root can install one'

t.test('a page with charts opens in a browser', { skip }, async (t) => {
  const view = async (body: Html, options = {}) => {
    const file = join(tempDir(t), 'page.html')
    writeFileSync(file, renderPage({ title: 'A report', subtitle: 'of a test', body }))
    return viewPage(browser!, file, options)
  }
  const closed = html`${chart}<details><summary>more</summary><div>${chart}</div></details>`
  const screenshotPath = join(tempDir(t), 'page.png')
  t.match(await view(closed, { screenshotPath }), {
    errors: [],
    charts: 2,
    drawnCharts: 2,
    text: /A report[\s\S]*two bars/,
  })
  t.ok(statSync(screenshotPath).size > 1000)

  const wrong = await view(chartFigure({ marks: [{ mark: 'no such mark' as 'dot' }] }))
  t.match(wrong, { errors: [/not a function/], charts: 1, drawnCharts: 0 }, 'a chart that cannot be drawn')
  const { errors } = await view(
    html`<img src="https://example.com/x.png"><script>throw Error('oops')</script>`,
  )
  t.match(errors.join('\n'), /oops/)
  t.match(errors.join('\n'), /example\.com/, 'and a page that would reach outside')
})

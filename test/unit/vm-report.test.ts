/** Reports: tables of text, pages of HTML. */
import t from 'tap'
import { ruledTable } from '../../src/commands/text-table.js'
import { chartFigure } from '../../vm/report/chart.js'
import { html } from '../../vm/report/html.js'
import { renderPage } from '../../vm/report/page.js'

t.test('a table is as wide as its widest cells', async (t) => {
  const table = ruledTable(
    [{ title: 'name' }, { title: 'MB/s', align: 'right' }],
    [
      ['a longer name', '7'],
      ['b', '1234567'],
    ],
  )
  t.equal(
    table,
    [
      'name              MB/s',
      '-------------  -------',
      'a longer name        7',
      'b              1234567',
      '',
    ].join('\n'),
  )
})

t.test('text in a page is escaped, HTML is not', async (t) => {
  const list = ['<a>', '"b"'].map((item) => html`<li>${item}</li>`)
  t.equal(html`<ul>${list}</ul>${undefined}`.text, '<ul><li>&lt;a&gt;</li><li>&quot;b&quot;</li></ul>')
})

t.test("a chart's data cannot end its script element", async (t) => {
  const { text } = chartFigure({ marks: [{ mark: 'text', data: ['</script><script>alert(1)'] }] })
  t.equal(text.match(/<\/script>/g)?.length, 1)
  t.same(JSON.parse(/json">(.*)<\/script>/.exec(text)![1]!).marks[0].data, ['</script><script>alert(1)'])
})

t.test('a page loads nothing from elsewhere', async (t) => {
  const page = renderPage({ title: 'A & B', subtitle: 'one line', body: html`<p>body</p>` })
  t.match(page, '<title>A &amp; B</title>')
  t.match(page, '<p>body</p>')
  t.match(page, /default-src &#39;none&#39;/, 'and may ask for nothing else')
  t.match(page, /Plot=/, 'the chart library')
})

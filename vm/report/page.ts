import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Html, html } from './html.js'

// Style and script are not compiled, so this path leads from dist/vm/report back to the sources.
const BROWSER = new URL('../../../vm/report/browser/', import.meta.url)
/**
 * Observable Plot and the library below it, as single files for a browser; they define the globals `d3` and `Plot`.
 */
const LIBRARIES = [
  new URL('d3.min.js', import.meta.resolve('d3')),
  new URL('../dist/plot.umd.min.js', import.meta.resolve('@observablehq/plot')),
]
/** Keeps the page from reaching anything outside of itself. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

export interface Page {
  title: string
  /** One line below the title. */
  subtitle: string
  body: Html
}

/** Returns a page that includes everything it needs: style, script and the chart library. */
export function renderPage({ title, subtitle, body }: Page): string {
  const scripts = [...LIBRARIES, new URL('draw-charts.js', BROWSER)]
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${title}</title>
<style>
${contents(new URL('page.css', BROWSER))}
</style>
</head>
<body>
<header>
<h1>${title}</h1>
<p>${subtitle}</p>
</header>
<main>
${body}
</main>
${scripts.map((url) => html`<script>${contents(url)}</script>\n`)}
</body>
</html>
`
  return page.text
}

/** Returns a file's text. Checks that nothing in it ends the element that holds it. */
function contents(url: URL): Html {
  const text = readFileSync(fileURLToPath(url), 'utf8')
  if (/<\/(script|style)/i.test(text)) throw new Error(`${url.href} would end its own element`)
  return new Html(text)
}

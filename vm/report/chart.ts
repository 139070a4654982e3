import { type Html, html, jsonForScript } from './html.js'

/** One layer of a chart: a mark of Observable Plot by its name, its data, and its options. All of it is JSON. */
export interface Mark {
  mark:
    | 'areaY'
    | 'axisX'
    | 'axisY'
    | 'barX'
    | 'barY'
    | 'cell'
    | 'dot'
    | 'frame'
    | 'gridX'
    | 'gridY'
    | 'lineY'
    | 'link'
    | 'rect'
    | 'ruleX'
    | 'ruleY'
    | 'text'
    | 'tickX'
    | 'tickY'
  data?: readonly unknown[]
  /** Channels name fields of the data; formats are those of d3-format. */
  options?: Record<string, unknown>
}

export interface Chart {
  /** The options of Plot.plot besides marks: height, margins, scales. The page sets the width. */
  options?: Record<string, unknown>
  marks: readonly Mark[]
}

/** Returns a chart for a page; it is drawn when it comes into view. `caption` describes it. */
export function chartFigure(chart: Chart, caption?: string): Html {
  return html`<figure class="chart">
<script type="application/json">${jsonForScript(chart)}</script>
${caption === undefined ? undefined : html`<figcaption>${caption}</figcaption>`}
</figure>
`
}

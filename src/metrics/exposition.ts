/**
 * Text for Prometheus and whatever reads the same, in two formats: OpenMetrics 1.0, and Prometheus' own 0.0.4. Not by
 * prom-client: that one loads OpenTelemetry and 11 MB into a process that starts as root, to write these lines.
 */

export type Labels = Readonly<Record<string, string>>

/** One number. `suffix`: what its name has behind the family's, such as `_bucket`. */
export interface Sample {
  readonly labels: Labels
  readonly value: number
  readonly suffix?: string
}

/** Numbers of one kind. The name of a counter is without `_total`. */
export interface Family {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly samples: readonly Sample[]
}

export type Format = 'openmetrics' | 'prometheus'

export const contentTypes: Readonly<Record<Format, string>> = {
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
}

/** The format that a client's Accept header asks for. */
export function formatFor(accept: string | undefined): Format {
  return accept?.includes('application/openmetrics-text') === true ? 'openmetrics' : 'prometheus'
}

/** Writes the families that have samples. */
export function exposition(families: readonly Family[], format: Format): string {
  const text = families.filter(({ samples }) => samples.length > 0).map((family) => linesOf(family, format))
  return text.join('') + (format === 'openmetrics' ? '# EOF\n' : '')
}

function linesOf({ name, type, help, samples }: Family, format: Format): string {
  // In the older format the suffix belongs to the counter's name.
  const title = type === 'counter' && format === 'prometheus' ? `${name}_total` : name
  const lines = samples.map(({ labels, value, suffix = type === 'counter' ? '_total' : '' }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escaped(text)}"`)
    return `${name}${suffix}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${numberText(value)}\n`
  })
  return `# HELP ${title} ${help}\n# TYPE ${title} ${type}\n${lines.join('')}`
}

/** Label values may be any text. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  return `${value}`
}

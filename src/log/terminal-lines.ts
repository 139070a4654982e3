import { inspect } from 'node:util'
import { visibleLines } from 'virtio-fs-ts/protocol'

/** The name and colour of each level, by pino's number. */
const levels: Readonly<Record<number, readonly [name: string, colour: string]>> = {
  10: ['TRACE', 'gray'],
  20: ['DEBUG', 'blue'],
  30: ['INFO', 'green'],
  40: ['WARN', 'yellow'],
  50: ['ERROR', 'red'],
  60: ['FATAL', 'bgRed'],
}

type Paint = (text: string, colour: string) => string

/** Writes pino's lines to `out` for people: time, level and message, then the fields on lines below. */
export function terminalLines(
  out: { write(text: string): void },
  colours: boolean,
): { write(line: string): void } {
  const paint = colours ? painted : (text: string) => text
  return { write: (line) => out.write(terminalText(line, paint)) }
}

function terminalText(line: string, paint: Paint): string {
  // pino writes one JSON object per line.
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
  const [name, colour] = levels[Number(level)] ?? [`LEVEL ${level}`, 'gray']
  const lines = [
    `[${clock(new Date(Number(time)))}] ${paint(name, colour)}: ${paint(`${msg}`, 'cyan')}`,
    ...Object.entries(fields).map(([key, value]) => `${paint(key, 'magenta')}: ${fieldText(key, value)}`),
  ]
  return `${lines.join('\n').replaceAll('\n', '\n    ')}\n`
}

/** Formats a field as JSON, or as the stack of an error. Text from a guest cannot move the cursor. */
function fieldText(key: string, value: unknown): string {
  return visibleLines(stackOf(key, value) ?? JSON.stringify(value, undefined, 2))
}

/** The stack of an error, which comes as text from the thread of a share. */
function stackOf(key: string, value: unknown): string | undefined {
  if (typeof value === 'string') return key === 'error' && value.includes('\n') ? value : undefined
  const stack = typeof value === 'object' && value !== null && 'stack' in value ? value.stack : undefined
  return typeof stack === 'string' ? stack : undefined
}

function painted(text: string, colour: string): string {
  const [on, off] = inspect.colors[colour] ?? [0, 0]
  return `\u001b[${on}m${text}\u001b[${off}m`
}

/** Formats the local time as HH:MM:SS.mmm. */
function clock(date: Date): string {
  return `${date.toTimeString().slice(0, 8)}.${`${date.getMilliseconds()}`.padStart(3, '0')}`
}

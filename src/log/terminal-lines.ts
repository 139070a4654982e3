import { inspect } from 'node:util'
import { visibleLines } from '../basics/visible.js'

/** How a level is shown, by the number that pino gives it. */
const levels: Readonly<Record<number, readonly [name: string, colour: string]>> = {
  10: ['TRACE', 'gray'],
  20: ['DEBUG', 'blue'],
  30: ['INFO', 'green'],
  40: ['WARN', 'yellow'],
  50: ['ERROR', 'red'],
  60: ['FATAL', 'bgRed'],
}

type Paint = (text: string, colour: string) => string

/** Takes pino's lines and writes them to `out` for people: time, level and message, and below it the fields. */
export function terminalLines(
  out: { write(text: string): void },
  colours: boolean,
): { write(line: string): void } {
  const paint = colours ? painted : (text: string) => text
  return { write: (line) => out.write(terminalText(line, paint)) }
}

function terminalText(line: string, paint: Paint): string {
  // A line of pino's is an object.
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
  const [name, colour] = levels[Number(level)] ?? [`LEVEL ${level}`, 'gray']
  const lines = [
    `[${clock(new Date(Number(time)))}] ${paint(name, colour)}: ${paint(`${msg}`, 'cyan')}`,
    ...Object.entries(fields).map(([key, value]) => `${paint(key, 'magenta')}: ${fieldText(value)}`),
  ]
  return `${lines.join('\n').replaceAll('\n', '\n    ')}\n`
}

/** JSON; of an error, its stack. What a guest chose cannot move the cursor. */
function fieldText(value: unknown): string {
  const stack = typeof value === 'object' && value !== null && 'stack' in value ? value.stack : undefined
  const text = typeof stack === 'string' ? stack : JSON.stringify(value, undefined, 2)
  return visibleLines(text)
}

function painted(text: string, colour: string): string {
  const [on, off] = inspect.colors[colour] ?? [0, 0]
  return `\u001b[${on}m${text}\u001b[${off}m`
}

/** HH:MM:SS.mmm, where this machine is. */
function clock(date: Date): string {
  return `${date.toTimeString().slice(0, 8)}.${`${date.getMilliseconds()}`.padStart(3, '0')}`
}

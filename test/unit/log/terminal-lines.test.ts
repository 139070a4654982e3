import { pino } from 'pino'
import t from 'tap'
import { terminalLines } from '../../../src/log/terminal-lines.js'

/** The lines that a terminal shows for calls of `log`. */
function shown(tell: (log: pino.Logger) => void, colours = false): string {
  const texts: string[] = []
  const out = { write: (text: string) => void texts.push(text) }
  tell(pino({ base: null, level: 'trace' }, terminalLines(out, colours)))
  return texts.join('')
}

const stamped = (text: string) => text.replaceAll(/\[\d\d:\d\d:\d\d\.\d{3}\]/g, '[time]')

t.test('a line for the message, then one for each field', async (t) => {
  const text = shown((log) => log.info({ directory: '/a b', count: 3, none: undefined }, 'ready'))
  t.equal(stamped(text), '[time] INFO: ready\n    directory: "/a b"\n    count: 3\n')
  const child = shown((log) => log.child({ share: 'db' }).warn({ list: ['x'] }, 'slow'))
  t.equal(stamped(child), '[time] WARN: slow\n    share: "db"\n    list: [\n      "x"\n    ]\n')
})

t.test('every level has its name', async (t) => {
  for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const)
    t.equal(stamped(shown((log) => log[level]('text'))), `[time] ${level.toUpperCase()}: text\n`)
})

t.test('the stack of an error is printed', async (t) => {
  const text = shown((log) => log.fatal({ err: new Error('boom \u001b[2J') }, 'cannot start'))
  t.match(stamped(text), /^\[time\] FATAL: cannot start\n {4}err: Error: boom \\u001b\[2J\n {8,}at /)
})

t.test('so is a stack that came as text, from the thread of a share', async (t) => {
  const text = shown((log) => log.warn({ path: '/a', error: 'Error: b\n    at c\u001b[2J' }, 'failed'))
  t.equal(stamped(text), '[time] WARN: failed\n    path: "/a"\n    error: Error: b\n        at c\\u001b[2J\n')
  const name = shown((log) => log.warn({ error: 'EIO' }, 'failed'))
  t.equal(stamped(name), '[time] WARN: failed\n    error: "EIO"\n')
})

t.test('text that a guest chose cannot move the cursor', async (t) => {
  const text = shown((log) => log.warn({ path: 'a\u001b[2Jb\nc\u009bd' }, 'odd name'))
  t.equal(stamped(text), '[time] WARN: odd name\n    path: "a\\u001b[2Jb\\nc\\u009bd"\n')
})

t.test('levels have colours when they are asked for', async (t) => {
  t.match(
    shown((log) => log.info({ n: 1 }, 'text'), true),
    '\u001b[32mINFO\u001b[39m: \u001b[36mtext\u001b[39m',
  )
})

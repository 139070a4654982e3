import { isatty } from 'node:tty'
import { destination, type Logger, pino } from 'pino'

const STDERR = 2

/** Logs go to standard error: for people on a terminal, as JSON lines otherwise. Every line is out before it returns. */
export async function makeLogger(level: string): Promise<Logger> {
  const options = { level, base: null }
  if (!isatty(STDERR)) return pino(options, destination({ dest: STDERR, sync: true }))
  const { default: pretty } = await import('pino-pretty')
  return pino(
    options,
    pretty({
      destination: STDERR,
      sync: true,
      colorize: true,
      translateTime: 'SYS:HH:MM:ss.l',
      ignore: 'pid,hostname',
    }),
  )
}

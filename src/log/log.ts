import { isatty } from 'node:tty'
import { destination, type Logger, pino } from 'pino'
import type { Configuration } from '../config/configuration.js'
import { syslogStream } from './syslog.js'

const STDERR = 2

/**
 * Logs go to the system's log if `syslogFd` is connected to it, else to standard error: for people on a terminal, as JSON
 * lines otherwise. Every line is out before it returns.
 */
export async function makeLogger(
  logLevel: Configuration['logLevel'],
  syslogFd: number | undefined,
): Promise<Logger> {
  const options = { level: logLevel === 'off' ? 'silent' : logLevel, base: null }
  if (syslogFd !== undefined) return pino(options, syslogStream(syslogFd))
  if (!isatty(STDERR)) return pino(options, destination({ dest: STDERR, sync: true }))
  const { default: pretty } = await import('pino-pretty')
  return pino(
    options,
    pretty({
      destination: STDERR,
      sync: true,
      colorize: process.env['NO_COLOR'] === undefined,
      translateTime: 'SYS:HH:MM:ss.l',
      ignore: 'pid,hostname',
    }),
  )
}

import { isatty } from 'node:tty'
import { destination, type Logger, pino } from 'pino'
import type { LogLevel } from '../config/options/process-options.js'
import { syslogStream } from './syslog.js'
import { terminalLines } from './terminal-lines.js'

const STDERR = 2

/**
 * Logs go to the system's log if `syslogFd` is connected to it, else to standard error: for people on a terminal, as JSON
 * lines otherwise. Every line is out before it returns.
 */
export function makeLogger(logLevel: LogLevel, syslogFd: number | undefined): Logger {
  const options = { level: logLevel === 'off' ? 'silent' : logLevel, base: null }
  if (syslogFd !== undefined) return pino(options, syslogStream(syslogFd))
  const out = destination({ dest: STDERR, sync: true })
  return pino(options, isatty(STDERR) ? terminalLines(out, process.env['NO_COLOR'] === undefined) : out)
}

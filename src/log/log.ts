import { isatty } from 'node:tty'
import { type Logger, pino } from 'pino'
import { visibleJson } from 'virtio-fs-ts/protocol'
import type { LogLevel } from '../config/options/process-options.js'
import { PatientStream, type WriteNow } from './patient-stream.js'
import { syslogStream } from './syslog.js'
import { terminalLines } from './terminal-lines.js'

const STDERR = 2

/** Like WriteNow, for any descriptor. */
export type WriteTo = (fd: number, ...what: Parameters<WriteNow>) => number

/** A log, and a function that writes its last lines before the process ends. */
export interface Log {
  readonly log: Logger
  flush(): void
}

/**
 * Logs to the system log if `syslogFd` is connected to it, else to standard error: in a readable form on a terminal,
 * as JSON lines otherwise. A line is written before the call returns, unless the log's reader pauses: nothing waits
 * for that.
 */
export function makeLogger(logLevel: LogLevel, syslogFd: number | undefined, writeNow: WriteTo): Log {
  const options = { level: logLevel === 'off' ? 'silent' : logLevel, base: null }
  if (syslogFd !== undefined) return { log: pino(options, syslogStream(syslogFd)), flush: () => {} }
  const out = new PatientStream((bytes, at) => writeNow(STDERR, bytes, at))
  const colours = process.env['NO_COLOR'] === undefined
  const lines = isatty(STDERR)
    ? terminalLines(out, colours)
    : { write: (line: string) => out.write(visibleJson(line)) }
  return { log: pino(options, lines), flush: () => out.flush(pause) }
}

/** Blocks this thread. */
function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

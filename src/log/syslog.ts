import { writeSync } from 'node:fs'
import { visibleJson } from '../basics/visible.js'

/** LOG_DAEMON, shifted as syslog(3) has it. */
const FACILITY = 3 << 3

/** The severities of syslog(3) for pino's levels, the highest first. */
const severities = [
  { level: 60, severity: 2 },
  { level: 50, severity: 3 },
  { level: 40, severity: 4 },
  { level: 30, severity: 6 },
  { level: 0, severity: 7 },
] as const

/** Takes pino's lines and sends each as a datagram: "<30>virtiofsd-ts[PID]: message {fields}". */
export function syslogStream(fd: number): { write(line: string): void } {
  return {
    write: (line) => {
      // A line of pino's is an object.
      const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
      const severity = severities.find((entry) => Number(level) >= entry.level)?.severity ?? 7
      const details = Object.keys(fields).length === 0 ? '' : ` ${visibleJson(JSON.stringify(fields))}`
      send(fd, `<${FACILITY | severity}>virtiofsd-ts[${process.pid}]: ${msg}${details}`)
    },
  }
}

/** A log that is full or has gone is no reason to stop serving: the message is lost, as with syslog(3). */
function send(fd: number, datagram: string): void {
  try {
    writeSync(fd, datagram)
  } catch {
    // EAGAIN, ECONNREFUSED, EMSGSIZE: there is nobody to tell.
  }
}

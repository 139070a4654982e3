import { writeSync } from 'node:fs'
import { visibleJson } from 'virtio-fs-ts/protocol'

/** LOG_DAEMON, shifted as in syslog(3). */
const FACILITY = 3 << 3

/** The syslog(3) severities of pino's levels, the highest level first. */
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
      // pino writes one JSON object per line.
      const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
      const severity = severities.find((entry) => Number(level) >= entry.level)?.severity ?? 7
      const details = Object.keys(fields).length === 0 ? '' : ` ${visibleJson(JSON.stringify(fields))}`
      send(fd, `<${FACILITY | severity}>virtiofsd-ts[${process.pid}]: ${msg}${details}`)
    },
  }
}

/** Loses the message if the log is full or gone, like syslog(3): serving goes on. */
function send(fd: number, datagram: string): void {
  try {
    writeSync(fd, datagram)
  } catch {
    // EAGAIN, ECONNREFUSED, EMSGSIZE: nobody can be told.
  }
}

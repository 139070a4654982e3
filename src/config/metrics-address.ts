import { isIP } from 'node:net'
import { resolve } from 'node:path'
import { checkSocketPath } from './socket-path.js'
import { UserError } from './user-error.js'

/** Where metrics are served: a TCP port of an address of this host, or a unix socket. */
export type MetricsAddress = { readonly host: string; readonly port: number } | { readonly path: string }

const LOOPBACK = '127.0.0.1'
const MOST_PORTS = 65_535

/** Reads `PORT`, `HOST:PORT`, `[HOST]:PORT` or `unix:PATH`. HOST is an address or localhost. Throws UserError. */
export function parseMetricsAddress(text: string): MetricsAddress {
  const [, path] = /^unix:(.+)$/.exec(text) ?? []
  if (path !== undefined) {
    checkSocketPath(resolve(path), `--metrics ${text}`)
    return { path: resolve(path) }
  }
  const [, bracketed, plain, digits = ''] = /^(?:(?:\[(.+)\]|([^:]*)):)?(\d+)$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === '' || port > MOST_PORTS)
    throw new UserError(`--metrics ${text}: not a PORT, HOST:PORT, [HOST]:PORT or unix:PATH`)
  const given = bracketed ?? plain ?? LOOPBACK
  const host = given === 'localhost' ? LOOPBACK : given
  if (isIP(host) === 0)
    throw new UserError(
      `--metrics ${text}: '${given}' is not an address of this host, such as 127.0.0.1 or 0.0.0.0`,
    )
  return { host, port }
}

/** The address as it is written. */
export function metricsWords(address: MetricsAddress): string {
  if ('path' in address) return `unix:${address.path}`
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}

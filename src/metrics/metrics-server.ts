import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { contentTypes, exposition, type Family, formatFor } from './exposition.js'

/** A further client takes the place of the one that came first: slow ones keep nobody out. */
const MAX_CLIENTS = 16
/** Each connection serves one request, and is over after this time whatever happened. */
const LIFETIME_MS = 10_000
const HEADERS_MS = 3000
const CHECK_MS = 1000
const MAX_HEADER_BYTES = 8 * 1024
const MAX_HEADERS = 64

/**
 * Serves /metrics over HTTP on the main thread, at a socket that listens. A share's thread never waits for a client, and
 * however many clients there are, shares are asked one question at a time.
 */
export function serveMetrics(listenFd: number, families: () => Promise<readonly Family[]>): Server {
  const clients = new Set<Socket>()
  const server = createServer(
    {
      headersTimeout: HEADERS_MS,
      requestTimeout: LIFETIME_MS,
      connectionsCheckingInterval: CHECK_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    (request, response) => {
      answer(request, response, families).catch(() => request.socket.destroy())
    },
  )
  server.maxHeadersCount = MAX_HEADERS
  server.maxRequestsPerSocket = 1
  server.on('connection', (socket: Socket) => {
    const [oldest] = clients
    if (clients.size >= MAX_CLIENTS) oldest?.destroy()
    clients.add(socket)
    const timer = setTimeout(() => socket.destroy(), LIFETIME_MS).unref()
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      clearTimeout(timer)
      clients.delete(socket)
    })
  })
  server.on('clientError', (_error, socket) => socket.destroy())
  // No other protocol is spoken here.
  server.on('upgrade', (_request, socket) => socket.destroy())
  server.on('connect', (_request, socket) => socket.destroy())
  // A connection that cannot be accepted, for want of memory: the next one may be.
  server.on('error', () => {})
  server.listen({ fd: listenFd })
  // The process ends when its shares end.
  server.unref()
  return server
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  families: () => Promise<readonly Family[]>,
): Promise<void> {
  response.shouldKeepAlive = false
  const [path] = (request.url ?? '').split('?')
  const isRead = request.method === 'GET' || request.method === 'HEAD'
  if (!isRead || path !== '/metrics') {
    response.writeHead(isRead ? 404 : 405, { 'Content-Type': 'text/plain; charset=utf-8' })
    response.end('GET /metrics\n')
    return
  }
  const format = formatFor(request.headers.accept)
  const text = exposition(await families(), format)
  response.writeHead(200, { 'Content-Type': contentTypes[format], 'Cache-Control': 'no-store' })
  response.end(request.method === 'HEAD' ? undefined : text)
}

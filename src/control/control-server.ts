import { createServer, type Server, type Socket } from 'node:net'
import { visibleJson } from 'virtio-fs-ts/protocol'
import { messageOf } from '../basics/errors.js'
import type { ControlCommands } from './control-commands.js'
import { MAX_LINE_LENGTH, parseRequest, tooLong } from './control-request.js'

const MAX_CLIENTS = 16
/** The most requests of one client that may wait for answers. */
const MAX_WAITING = 32
/** The server disconnects a client that leaves this many bytes of answers unread. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024

/**
 * One client of the control socket. It sends lines of JSON and receives one line of JSON for each, in the
 * same order.
 */
class ControlClient {
  private pending = ''
  private waiting = 0
  private answers: Promise<void> = Promise.resolve()

  constructor(
    private readonly socket: Socket,
    private readonly commands: ControlCommands,
  ) {
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => this.receive(text))
    socket.on('error', () => socket.destroy())
  }

  private receive(text: string): void {
    const lines = (this.pending + text).split('\n')
    this.pending = lines.pop() ?? ''
    if (this.pending.length > MAX_LINE_LENGTH || lines.some((line) => line.length > MAX_LINE_LENGTH)) {
      this.refuse(tooLong)
      return
    }
    for (const line of lines) if (line.trim() !== '') this.take(line)
  }

  private take(line: string): void {
    if (++this.waiting > MAX_WAITING) {
      this.refuse(`more than ${MAX_WAITING} requests wait for an answer`)
      return
    }
    const answer = this.answer(line)
    this.answers = this.answers.then(async () => {
      this.send(await answer)
      this.waiting--
    })
  }

  private async answer(line: string): Promise<object> {
    let id: unknown
    try {
      const request = parseRequest(line)
      id = request.id
      return { id, ok: true, result: await this.commands.run(request) }
    } catch (error) {
      return { id, ok: false, error: messageOf(error) }
    }
  }

  private send(answer: object): void {
    if (this.socket.destroyed) return
    this.socket.write(`${visibleJson(JSON.stringify(answer))}\n`)
    if (this.socket.writableLength > MAX_UNREAD_BYTES) this.socket.destroy()
  }

  /** Sends the reason and closes the connection: the rest of the input cannot be parsed. */
  private refuse(error: string): void {
    this.socket.end(`${JSON.stringify({ ok: false, error })}\n`)
    this.socket.removeAllListeners('data')
    this.socket.resume()
  }
}

/** Serves the control socket on the main thread; a share's thread never waits for a client. */
export function serveControl(listenFd: number, commands: ControlCommands): Server {
  const server = createServer((socket) => new ControlClient(socket, commands))
  server.maxConnections = MAX_CLIENTS
  // A connection that cannot be accepted, for want of memory: the next one may be.
  server.on('error', () => {})
  server.listen({ fd: listenFd })
  // The process ends when its shares end; this server does not keep it alive.
  server.unref()
  return server
}

import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { readLines } from '../host/lines.js'

export interface QmpEvent {
  event: string
  data?: { guest?: boolean }
}

interface QmpReply extends Partial<QmpEvent> {
  id?: number
  return?: unknown
  error?: { class: string; desc: string }
}

interface Waiting {
  resolve: (value: unknown) => void
  reject: (error: Error) => void
}

/** QEMU's control channel. Emits 'event' for QEMU's events. */
export class Qmp extends EventEmitter<{ event: [QmpEvent] }> {
  private readonly waiting = new Map<number, Waiting>()
  private nextId = 1
  private closed = false

  private constructor(private readonly socket: Socket) {
    super()
    readLines(socket, (line) => this.receive(JSON.parse(line) as QmpReply))
    socket.on('close', () => this.close())
  }

  /** Takes over a fresh connection. Events arrive from now on. */
  static async open(socket: Socket): Promise<Qmp> {
    const qmp = new Qmp(socket)
    await qmp.execute('qmp_capabilities')
    return qmp
  }

  /** Runs one QMP command, such as `execute('stop')`. Returns its result. */
  execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.closed) return reject(new Error(`QMP ${command}: QEMU has ended`))
      const id = this.nextId++
      this.waiting.set(id, {
        resolve,
        reject: (error) => reject(new Error(`QMP ${command}: ${error.message}`)),
      })
      this.socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    })
  }

  private receive(reply: QmpReply): void {
    if (reply.event !== undefined) this.emit('event', reply as QmpEvent)
    const waiting = this.waiting.get(reply.id ?? 0)
    if (waiting === undefined) return
    this.waiting.delete(reply.id!)
    if (reply.error === undefined) waiting.resolve(reply.return)
    else waiting.reject(new Error(reply.error.desc))
  }

  private close(): void {
    this.closed = true
    for (const { reject } of this.waiting.values()) reject(new Error('QEMU has ended'))
    this.waiting.clear()
  }
}

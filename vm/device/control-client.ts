import { connect, type Socket } from 'node:net'
import { readLines } from '../host/lines.js'

interface Answer {
  ok: boolean
  result?: unknown
  error?: string
}

/** Sends commands to a running virtiofsd-ts at its control socket, as `virtiofsd-ts ctl` does. */
export class ControlClient {
  private readonly waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void }[] = []
  private over = false

  private constructor(private readonly socket: Socket) {
    readLines(socket, (line) => this.waiting.shift()?.resolve(JSON.parse(line) as Answer))
    socket.on('close', () => this.end())
  }

  static connect(path: string): Promise<ControlClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path)
      socket.once('error', reject)
      socket.once('connect', () => resolve(new ControlClient(socket)))
    })
  }

  /** Returns the result of a command. Rejects with the refusal, or if the device has ended. */
  async ask<T>(command: string, argument: unknown, share: string): Promise<T> {
    if (this.over) throw new Error('the device closed its control socket')
    const answer = await new Promise<Answer>((resolve, reject) => {
      this.waiting.push({ resolve, reject })
      this.socket.write(`${JSON.stringify({ command, argument, share })}\n`)
    })
    if (!answer.ok) throw new Error(`${command}: ${answer.error}`)
    return answer.result as T
  }

  close(): void {
    this.socket.destroy()
  }

  private end(): void {
    this.over = true
    for (const { reject } of this.waiting.splice(0)) reject(new Error('the device closed its control socket'))
  }
}

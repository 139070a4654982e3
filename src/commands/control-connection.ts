import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { UserError } from '../config/user-error.js'
import type { ControlRequest } from '../control/control-request.js'

/** A change waits for others, opens a directory and a socket, or starts a process. */
const ANSWER_TIMEOUT_MS = 75_000

/** A connection to the control socket of a running process. Its errors begin with the name of the command that uses it. */
export class ControlConnection {
  private readonly lines: AsyncIterator<string>

  private constructor(
    private readonly socket: Socket,
    private readonly user: string,
  ) {
    this.lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  }

  /** Throws UserError if nobody listens. */
  static open(path: string, user: string): Promise<ControlConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect(path)
      socket.once('connect', () => resolve(new ControlConnection(socket, user)))
      socket.once('error', (error: NodeJS.ErrnoException) => {
        reject(new UserError(`${user}: nobody answers at ${path} (${error.code})`))
      })
    })
  }

  /** Returns the result. Throws UserError if the answer is an error, or none comes. */
  async ask(request: ControlRequest): Promise<unknown> {
    this.socket.write(`${JSON.stringify(request)}\n`)
    // The answer comes from control-server.ts.
    const answer = JSON.parse(await this.nextLine()) as { ok: boolean; result?: unknown; error?: string }
    if (!answer.ok) throw new UserError(`${this.user}: ${answer.error}`)
    return answer.result
  }

  close(): void {
    this.socket.destroy()
  }

  private async nextLine(): Promise<string> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new UserError(`${this.user}: no answer in time`)),
        ANSWER_TIMEOUT_MS,
      ).unref()
    })
    // The connection is reset if the process ends before it has read the request.
    const line = this.lines.next().catch(() => ({ value: undefined }))
    try {
      const { value } = await Promise.race([line, late])
      if (value === undefined) throw new UserError(`${this.user}: the process closed the connection`)
      return value
    } finally {
      clearTimeout(timer)
    }
  }
}

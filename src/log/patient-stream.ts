/**
 * Writes as much as fits now, from byte `at` on. Returns the number of bytes written, 0 if there is no room, -1 if
 * nobody will ever read them.
 */
export type WriteNow = (bytes: Uint8Array, at: number) => number

/** The most bytes kept for a reader that pauses; lines beyond it are lost. */
const MAX_WAITING_BYTES = 256 * 1024
const AGAIN_MS = 50
/** Attempts at the end of the process, for a slow reader. */
const LAST_TRIES = 20

/** Writes lines for a reader that may pause. Nothing waits for the reader, and the lines it misses are counted. */
export class PatientStream {
  private readonly waiting: Uint8Array[] = []
  private waitingBytes = 0
  /** Bytes already written of the first waiting line. */
  private doneBytes = 0
  private lost = 0
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly writeNow: WriteNow) {}

  write(line: string): void {
    const bytes = Buffer.from(line)
    if (this.waitingBytes + bytes.length > MAX_WAITING_BYTES) {
      this.lost++
      return
    }
    this.add(bytes)
    this.send()
  }

  /** Tries to write all waiting lines; calls `pause` between attempts. */
  flush(pause: (ms: number) => void): void {
    for (let n = 0; n < LAST_TRIES && this.waiting.length > 0; n++) {
      this.send()
      if (this.waiting.length > 0) pause(AGAIN_MS / 10)
    }
  }

  private add(bytes: Uint8Array): void {
    this.waiting.push(bytes)
    this.waitingBytes += bytes.length
  }

  private send(): void {
    for (let first = this.waiting[0]; first !== undefined; first = this.waiting[0]) {
      const written = this.writeNow(first, this.doneBytes)
      if (written === 0) {
        this.timer ??= setTimeout(() => this.sendAgain(), AGAIN_MS).unref()
        return
      }
      this.doneBytes += written
      if (written > 0 && this.doneBytes < first.length) continue
      this.waiting.shift()
      this.waitingBytes -= first.length
      this.doneBytes = 0
    }
    this.sayWhatIsLost()
  }

  private sendAgain(): void {
    this.timer = undefined
    this.send()
  }

  private sayWhatIsLost(): void {
    if (this.lost === 0) return
    const { lost } = this
    this.lost = 0
    this.write(
      `${JSON.stringify({ level: 40, time: Date.now(), lines: lost, msg: 'lines of this log were lost' })}\n`,
    )
  }
}

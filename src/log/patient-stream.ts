/**
 * Writes what there is room for now, from byte `at` on. Returns how many bytes that were, 0 when there is no room, -1 when
 * nobody will ever read them.
 */
export type WriteNow = (bytes: Uint8Array, at: number) => number

/** What waits for a reader that pauses; what comes beyond is lost. */
const MAX_WAITING_BYTES = 256 * 1024
const AGAIN_MS = 50
/** At the end of the process, for a reader that is only slow. */
const LAST_TRIES = 20

/** Lines for a reader that may pause: nobody ever waits for it, and what it misses is counted. */
export class PatientStream {
  private readonly waiting: Uint8Array[] = []
  private waitingBytes = 0
  /** Of the first that waits. */
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

  /** Tries to write what waits; `pause` is called in between. */
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

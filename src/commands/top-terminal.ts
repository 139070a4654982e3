import { writeSync } from 'node:fs'

// xterm's sequences, which every terminal in use knows: another screen, no cursor, no line wrap; and back.
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l'
const LEAVE = '\x1b[?7h\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const REST_OF_LINE = '\x1b[K'
const REST_OF_SCREEN = '\x1b[J'

const CTRL_C = '\x03'
const CTRL_D = '\x04'

const PATIENCE_MS = 1000

const ENDING = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1, SIGQUIT: 3 } as const

/** The whole terminal, until `leave`. It is restored on every way out of the program but SIGKILL. */
export class TopTerminal {
  private left = false
  private readonly onExit = () => this.leave()

  /** `quit` is called for q and Ctrl-C, `redraw` when the size changes or the program is continued. */
  constructor(
    private readonly quit: () => void,
    private readonly redraw: () => void,
  ) {
    process.on('exit', this.onExit)
    for (const [signal, number] of Object.entries(ENDING))
      process.on(signal, () => {
        this.leave()
        process.exitCode = 128 + number
        this.quit()
        // A process that does not answer holds nobody up.
        setTimeout(() => process.exit(), PATIENCE_MS).unref()
      })
    process.on('SIGCONT', () => {
      this.enter()
      this.redraw()
    })
    process.stdout.on('resize', this.redraw)
    this.enter()
    process.stdin.setEncoding('utf8').on('data', (keys: string) => {
      if (/[qQ]/.test(keys) || keys.includes(CTRL_C) || keys.includes(CTRL_D)) this.quit()
    })
    process.stdin.on('end', () => this.quit())
  }

  private enter(): void {
    if (process.stdin.isTTY) process.stdin.setRawMode(true)
    this.write(ENTER)
  }

  /** Draws lines in one write, so that nothing flickers; what does not fit is cut off. */
  draw(lines: readonly string[]): void {
    const { rows = 24, columns = 80 } = process.stdout
    const shown = lines.slice(0, rows).map((line) => `${clipped(line, columns)}${REST_OF_LINE}`)
    process.stdout.write(`${HOME}${shown.join('\r\n')}${REST_OF_SCREEN}`)
  }

  leave(): void {
    if (this.left) return
    this.left = true
    process.off('exit', this.onExit)
    if (process.stdin.isTTY) process.stdin.setRawMode(false)
    process.stdin.pause()
    this.write(LEAVE)
  }

  /** Written at once: the program may end right after. */
  private write(text: string): void {
    try {
      writeSync(process.stdout.fd, text)
    } catch {
      // The terminal is gone.
    }
  }
}

/** The first characters of a line. Wide ones take two columns; the terminal does not wrap. */
function clipped(line: string, columns: number): string {
  return line.length <= columns ? line : [...line].slice(0, columns).join('')
}

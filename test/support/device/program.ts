import { spawn, spawnSync } from 'node:child_process'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { sleep } from './device.js'

const PROGRAM = fileURLToPath(new URL('../../../program/main.js', import.meta.url))
const TIMEOUT_MS = 60_000
const POLL_MS = 5
const MAX_OUTPUT_BYTES = 256 << 20

/**
 * Returns the words that start the program, without the test runner's additions to the environment. `launcher`: a
 * program, with arguments, that then runs node.
 */
function wordsOf(
  args: readonly string[],
  launcher: readonly string[],
  program: string | readonly string[],
): readonly string[] {
  const { PATH } = process.env
  const started = typeof program === 'string' ? [process.execPath, program] : program
  return ['-i', `PATH=${PATH}`, ...launcher, ...started, ...args]
}

/** Runs the program until it ends by itself. */
export function runProgram(
  args: readonly string[],
  launcher: readonly string[] = [],
  program: string | readonly string[] = PROGRAM,
) {
  const { status, stdout, stderr } = spawnSync('env', wordsOf(args, launcher, program), {
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_OUTPUT_BYTES,
  })
  return { status, stdout: stdout.trim(), stderr: stderr.trim() }
}

/** Starts the program, and ends it with the test. */
export class RunningProgram {
  stderr = ''
  readonly exited: Promise<{ status: number | null; signal: string | null }>
  private readonly child

  /**
   * `fds`: descriptors that it inherits, from 3 up. `program`: a script for node, or the words of another program.
   */
  constructor(
    t: Test,
    args: readonly string[],
    launcher: readonly string[] = [],
    fds: readonly number[] = [],
    program: string | readonly string[] = PROGRAM,
  ) {
    const words = [...wordsOf(args, launcher, program)]
    this.child = spawn('env', words, { stdio: ['ignore', 'inherit', 'pipe', ...fds] })
    const stderr = this.child.stderr as Readable
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.exited = new Promise((resolve) => {
      this.child.on('exit', (status, signal) => resolve({ status, signal }))
    })
    t.teardown(async () => {
      this.kill('SIGTERM')
      await this.exited
    })
  }

  get pid(): number {
    return this.child.pid as number
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Waits until its log has `text`. Throws with its output if it ends before. */
  async says(text: string | RegExp): Promise<string> {
    const endMs = performance.now() + TIMEOUT_MS
    const found = () => this.stderr.split('\n').find((line) => line.match(text) !== null)
    for (;;) {
      const line = found()
      if (line !== undefined) return line
      if (performance.now() > endMs || this.child.exitCode !== null)
        throw new Error(`it said:\n${this.stderr}`)
      await sleep(POLL_MS)
    }
  }
}

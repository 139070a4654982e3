import { strict as assert } from 'node:assert'
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { tempDir } from './temp-dir.js'

// From dist/test/support back to the source.
const SOURCE = fileURLToPath(new URL('../../../../test/support/host/thread-calls.c', import.meta.url))
const FLAGS = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror']

export interface ThreadCall {
  readonly tid: number
  /** Default: the instruction of 64-bit programs. */
  readonly gate?: 'call' | 'int80'
  readonly number: number
  /** Bytes and text are written to the thread's memory. */
  readonly args?: readonly (number | string | Uint8Array)[]
}

/** Makes system calls on threads of another process. x86-64, root. */
export class ThreadCalls {
  private readonly program: string

  constructor(t: Test) {
    this.program = join(tempDir(t), 'thread-calls')
    const { status, stderr } = spawnSync('cc', [...FLAGS, '-o', this.program, SOURCE], { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  }

  /**
   * Returns the outcome of each call, in order: "refused" by a filter that traps; "ended", the process with it; or
   * the result, negative for an errno. Nothing follows an end.
   */
  make(pid: number, calls: readonly ThreadCall[]): string[] {
    const lines = calls.map(({ tid, gate = 'call', number, args = [] }) =>
      [tid, gate, number, ...args.map(wordOf)].join(' '),
    )
    const { status, stdout, stderr } = spawnSync(this.program, [`${pid}`], {
      input: `${lines.join('\n')}\n`,
      encoding: 'utf8',
      maxBuffer: 1 << 24,
    })
    const said = stdout.trim().split('\n')
    assert.ok(status === 0 || said.at(-1) === 'ended', `${status}: ${stderr}`)
    return said
  }
}

function wordOf(arg: number | string | Uint8Array): string {
  if (typeof arg === 'number') return `${arg}`
  return typeof arg === 'string' ? `=${arg}` : `#${Buffer.from(arg).toString('hex')}`
}

/** Returns all threads that run code of the process. io_uring's workers run none, and nobody can trace them. */
export function threadsOf(pid: number): { readonly tid: number; readonly name: string }[] {
  return readdirSync(`/proc/${pid}/task`)
    .map((tid) => ({
      tid: Number(tid),
      name: readFileSync(`/proc/${pid}/task/${tid}/comm`, 'utf8').trim(),
    }))
    .filter(({ name }) => !name.startsWith('iou-'))
}

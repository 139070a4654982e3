import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { attach } from '../fuse/mount.js'
import { RunningProgram } from './program.js'

export interface Installed {
  /** The words that start the program. */
  readonly words: readonly string[]
  /** A directory as the program sees it, and as this test does. */
  readonly inside: string
  readonly outside: string
  readonly args?: readonly string[]
}

/** Starts an installed program on a directory, plays a guest that reads and writes there, and sees both end well. */
export async function expectToServe(
  t: Test,
  { words, inside, outside, args = [] }: Installed,
): Promise<string> {
  mkdirSync(join(outside, 'share'), { recursive: true })
  // Any user may run the program.
  chmodSync(join(outside, 'share'), 0o777)
  writeFileSync(join(outside, 'share/file'), 'content')
  const paths = ['--shared-dir', join(inside, 'share'), '--socket-path', join(inside, 'socket')]
  const program = new RunningProgram(t, [...paths, ...args], [], [], words)
  await program.says('"ready')
  const fs = attach(t, { socketPath: join(outside, 'socket') })
  fs.init()
  t.equal(fs.lookup(1n, 'file').attr.size, 7n)
  fs.mkdir(1n, 'made', 0o755)
  fs.close()
  t.same(await program.exited, { status: 0, signal: null })
  return program.stderr
}

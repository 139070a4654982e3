import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { tempDir } from '../host/temp-dir.js'

const SCRIPT = fileURLToPath(new URL('./fake-successor.js', import.meta.url))

/** Writes a program that runs `fake-successor.ts` with `args`. Returns its path, for `LiveDevice.replace`. */
export function fakeSuccessorProgram(t: Test, ...args: readonly string[]): string {
  const path = join(tempDir(t), 'program')
  const words = [process.execPath, SCRIPT, ...args].map((word) => `'${word}'`)
  writeFileSync(path, `#!/bin/sh\nexec ${words.join(' ')}\n`)
  chmodSync(path, 0o755)
  return path
}

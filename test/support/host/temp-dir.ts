import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** An empty directory whose path is short enough for sockets, gone at the end of the test. */
export function tempDir(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'virtiofsd-ts-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onProcessExit } from './exit-hooks.js'

/**
 * A new folder in `parent`, by default where its path is short enough for sockets. It goes with `remove`, or else with this
 * process.
 */
export function makeTemporaryDir(parent = tmpdir()): { path: string; remove: () => void } {
  const path = mkdtempSync(join(parent, 'virtiofsd-ts-'))
  const deleteIt = (): void => rmSync(path, { recursive: true, force: true })
  const unhook = onProcessExit(deleteIt)
  const remove = (): void => {
    unhook()
    deleteIt()
  }
  return { path, remove }
}

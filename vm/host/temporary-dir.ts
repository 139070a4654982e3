import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onProcessExit } from './exit-hooks.js'

/**
 * Makes a new folder in `parent`, by default where its path is short enough for sockets. The folder is removed by
 * `remove` or when this process ends.
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

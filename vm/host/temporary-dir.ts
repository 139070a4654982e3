import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onProcessExit } from './exit-hooks.js'

/** A new folder with a path short enough for sockets. It goes with `remove`, or else with this process. */
export function makeTemporaryDir(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'virtiofsd-ts-'))
  const deleteIt = (): void => rmSync(path, { recursive: true, force: true })
  const unhook = onProcessExit(deleteIt)
  const remove = (): void => {
    unhook()
    deleteIt()
  }
  return { path, remove }
}

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export function findInPath(program: string): string | undefined {
  const { PATH = '' } = process.env
  return PATH.split(delimiter)
    .map((dir) => join(dir, program))
    .find(isExecutable)
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

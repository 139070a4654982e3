import { readFileSync } from 'node:fs'

/** Returns the text of a file in /proc, or '' if the process has ended meanwhile. */
export function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

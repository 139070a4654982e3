import { readdirSync, readFileSync } from 'node:fs'

/** The ids of the processes whose command line names a path. */
export function processesOf(path: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && textOf(`/proc/${name}/cmdline`).includes(path))
    .map(Number)
}

/** The text of a file; "" if it is gone. */
export function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

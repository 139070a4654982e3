import { readdirSync } from 'node:fs'
import { textOf } from '../../../vm/host/text-of.js'

/** The ids of the processes whose command line names a path. */
export function processesOf(path: string): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && textOf(`/proc/${name}/cmdline`).includes(path))
    .map(Number)
}

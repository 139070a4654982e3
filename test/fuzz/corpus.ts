import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder in the repository with inputs that together run all code known to be reachable. */
const KEPT = fileURLToPath(new URL('../../../test/fuzz/corpus', import.meta.url))

/** Targets with the inputs of another one. */
const shared: Readonly<Record<string, string>> = { races: 'rings', threads: 'requests' }

/** The inputs for a target, in the order of their names. */
export function readCorpus(target: string): readonly Uint8Array[] {
  const directory = join(KEPT, shared[target] ?? target)
  if (!existsSync(directory)) return []
  return readdirSync(directory)
    .sort()
    .map((name) => new Uint8Array(readFileSync(join(directory, name))))
}

/** Replaces the corpus by these inputs, each named by a digest of its contents. */
export function writeCorpus(target: string, inputs: readonly Uint8Array[]): void {
  const directory = join(KEPT, target)
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  for (const input of inputs)
    writeFileSync(join(directory, createHash('sha256').update(input).digest('hex').slice(0, 12)), input)
}

/** Serves a zip archive's files read-only: `--file-system './zip.js?archive=FILE'`. Needs the package `fflate`. */
import { readFileSync } from 'node:fs'
import { unzipSync } from 'fflate'

export default ({ archive }) => {
  const bytes = readFileSync(archive)
  const directory = () => {
    const names = new Map()
    return {
      names,
      lookup: (name) => names.get(name),
      readdir: () => [...names].map(([name, node]) => ({ name, node })),
    }
  }
  const file = (entry) => {
    let content
    const load = () =>
      (content ??= unzipSync(bytes, { filter: ({ name }) => name === entry.name })[entry.name])
    return {
      stat: () => ({ size: entry.originalSize, mode: 0o444 }),
      read: (position, length) => load().subarray(position, position + length),
    }
  }
  const root = directory()
  // The filter sees every entry. An entry is unpacked when it is first read.
  const add = (entry) => {
    const parts = entry.name.split('/').filter((part) => part !== '' && part !== '.' && part !== '..')
    const isFile = !entry.name.endsWith('/')
    let at = root
    for (const part of isFile ? parts.slice(0, -1) : parts) {
      if (!at.names.has(part)) at.names.set(part, directory())
      at = at.names.get(part)
    }
    if (isFile && at.names !== undefined) at.names.set(parts.at(-1), file(entry))
    return false
  }
  unzipSync(bytes, { filter: add })
  return { root }
}

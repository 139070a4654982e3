import { readlinkSync } from 'node:fs'

/** Returns the target of a link of /proc, or "" if it is gone: a process ends, or closes a descriptor, at any moment. */
export function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/** Returns what each descriptor of a process leads to, as /proc names it; "" for one that was closed meanwhile. */
export function descriptorsOf(pid: number): string[] {
  const fds = `/proc/${pid}/fd`
  return readdirSync(fds).map((fd) => linkOf(join(fds, fd)))
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

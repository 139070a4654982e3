import { EAGAIN, EINVAL } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { NameOpener } from '../names/name-opener.js'

const { O_DIRECTORY, O_PATH } = native.constants

const SLASH = 0x2f
const DOT = 0x2e
/** A rename elsewhere on the host can interrupt a walk. */
const TRIES = 64

const dot = Uint8Array.of(DOT, 0)

/**
 * Opens `path`, bytes below `rootFd` without a NUL, never through a link or out of the directory; the empty path is the
 * directory itself. Returns a descriptor or a negative errno.
 */
export function openBelow(rootFd: number, opener: NameOpener, path: Uint8Array, flags: number): number {
  if (path.length === 0) return native.openat(rootFd, dot, 0, flags, 0)
  if (!opener.locked) return openByComponents(rootFd, opener, path, flags)
  const name = terminated(path)
  for (let n = 1; ; n++) {
    const fd = opener.open(rootFd, name, 0, flags, 0)
    if (fd !== -EAGAIN || n === TRIES) return fd
  }
}

function openByComponents(rootFd: number, opener: NameOpener, path: Uint8Array, flags: number): number {
  let fd = rootFd
  for (let at = 0; at < path.length; ) {
    const slash = path.indexOf(SLASH, at)
    const end = slash < 0 ? path.length : slash
    const name = path.subarray(at, end)
    const isDots = name.length <= 2 && name.every((byte) => byte === DOT)
    const next = isDots
      ? -EINVAL
      : opener.open(fd, terminated(name), 0, slash < 0 ? flags : O_PATH | O_DIRECTORY, 0)
    if (fd !== rootFd) native.close(fd)
    if (next < 0) return next
    fd = next
    at = end + 1
  }
  return fd
}

/** The bytes and a NUL behind them. */
export function terminated(name: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(name.length + 1)
  bytes.set(name)
  return bytes
}

import { readdirSync, readlinkSync, readSync } from 'node:fs'
import type { Test } from 'tap'
import * as native from 'virtiofsd-ts-native'

/** Returns how many descriptors a process has open, without the one that lists our own. */
export function countOpenFds(pid: number | 'self' = 'self'): number {
  return readdirSync(`/proc/${pid}/fd`).length - (pid === 'self' ? 1 : 0)
}

/** Returns the file behind a descriptor of this process; undefined if it is not open. */
export function targetOf(fd: number): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return undefined
  }
}

/** Checks that `use` leaves exactly as many descriptors open as before. */
export function checkNoFdLeak(t: Test, use: () => void): void {
  const before = countOpenFds()
  use()
  t.equal(countOpenFds(), before, 'no descriptor is left open, none is closed that is not ours')
}

/** Returns a result. Throws if it is an error. */
export function ok(result: number): number {
  if (result < 0) throw new Error(`system call failed: errno ${-result}`)
  return result
}

export function eventfd(): number {
  return ok(native.eventfdCreate(native.constants.EFD_NONBLOCK))
}

/** Empties an eventfd. Returns true if it was signalled. */
export function takeSignal(fd: number): boolean {
  try {
    return readSync(fd, new Uint8Array(8)) === 8
  } catch {
    return false
  }
}

/** Returns two connected sockets. */
export function socketPair(): [number, number] {
  const fds = new Int32Array(2)
  ok(native.unixPair(fds))
  return [fds[0], fds[1]]
}

/** Sends `bytes` in one piece, with descriptors, which the caller keeps. */
export function sendBytes(fd: number, bytes: Uint8Array, fds: readonly number[] = []): void {
  const sent = native.sendMessage(
    fd,
    bytes,
    0,
    bytes.length,
    Int32Array.from(fds),
    fds.length,
    native.constants.MSG_DONTWAIT,
  )
  if (sent !== bytes.length) throw new Error(`${sent} of ${bytes.length} bytes sent`)
}

/** Returns every byte that waits on a socket. */
export function receiveBytes(fd: number): Uint8Array {
  const bytes = new Uint8Array(65536)
  const fds = new Int32Array(254)
  const got = native.receiveMessage(fd, bytes, 0, bytes.length, fds, native.constants.MSG_DONTWAIT)
  if (fds[0] !== 0) throw new Error('descriptors came along')
  return bytes.slice(0, Math.max(0, got))
}

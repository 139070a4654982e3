import { EAGAIN, EINTR, errnoName } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { SeccompAction } from '../config/options/process-options.js'
import { seccompFilter } from './seccomp-filter.js'
import { systemCallRules } from './system-calls.js'

/** The memory that io_urings of one user may lock together: tens of thousands of 40 KiB. */
const LOCKED_BYTES = 1024 * 1024 * 1024

/** Ends the process at once, without waiting for threads that are blocked in a system call. */
export function exitNow(status: number): never {
  return native.exitNow(status)
}

/**
 * Writes as much as fits now to `fd`, from byte `at` of `bytes` on. Returns the number of bytes written, 0 if there
 * is no room, -1 if they can never be written.
 */
export function writeNow(fd: number, bytes: Uint8Array, at: number): number {
  const result = native.writeNow(fd, bytes, at)
  if (result >= 0) return result
  return result === -EAGAIN || result === -EINTR ? 0 : -1
}

/** Sets the limit of open files as far as this process may; 0 leaves it. Returns the limit in force. */
export function limitFiles(limit: number): number {
  return native.setFileLimit(limit)
}

/**
 * Lets the devices of this user have thousands of io_urings: the kernel counts each as locked memory, and allows two
 * hundred by default. A device that gets none does with helper threads.
 */
export function allowRings(): void {
  native.raiseLockedLimit(LOCKED_BYTES)
}

/** Opens /proc/self/fd, which is needed to reopen inodes. Throws if there is no /proc. */
export function openOwnDescriptors(): number {
  const { AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH } = native.constants
  const fd = native.openat(AT_FDCWD, Buffer.from('/proc/self/fd\0'), 0, O_PATH | O_DIRECTORY | O_CLOEXEC, 0)
  if (fd < 0) throw new Error(`/proc/self/fd cannot be opened: ${errnoName(-fd)}`)
  return fd
}

/** Asks the launcher, over `sealFd`, to take the host's file system away. Throws on failure. */
export function leaveOldRoot(sealFd: number): void {
  const result = native.sealRequest(sealFd)
  native.close(sealFd)
  if (result < 0) throw new Error(`the old root cannot be left: ${errnoName(-result)}`)
}

/**
 * Makes io_urings for `count` threads that start later, since a process that has given system calls up can make none.
 * Returns how many were made.
 */
export function reserveRings(count: number): number {
  return native.asyncReserve(count)
}

/** The file of the addon, for threads that start when this process sees no files any more. */
export const nativePath = native.addonPath

/** Gives up every system call that serving does not need. Throws on failure. */
export function limitSystemCalls(action: SeccompAction): void {
  if (action === 'none') return
  const result = native.seccompInstall(seccompFilter(systemCallRules, action))
  if (result < 0) throw new Error(`--seccomp ${action}: ${errnoName(-result)}`)
}

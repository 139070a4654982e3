import { EMFILE, ENFILE } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'

const { O_CLOEXEC, O_DIRECTORY, O_PATH, AT_FDCWD } = native.constants

/** Turns EMFILE into ENFILE: the limit is the device's, not the guest process's. */
export function descriptorError(error: number): number {
  return error === -EMFILE ? -ENFILE : error
}

/** Opens a directory with O_PATH. Throws if that fails. */
export function openPath(path: string): number {
  const name = new TextEncoder().encode(`${path}\0`)
  const fd = native.openat(AT_FDCWD, name, 0, O_PATH | O_DIRECTORY | O_CLOEXEC, 0)
  if (fd < 0) throw new Error(`${path} cannot be opened: errno ${-fd}`)
  return fd
}

/** Closes a descriptor that Node did not open. Node's own call would log a warning if a worker closes one. */
export function closeDescriptor(fd: number): void {
  native.close(fd)
}

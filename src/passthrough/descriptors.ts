import { EMFILE, ENFILE } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'

const { O_CLOEXEC, O_DIRECTORY, O_PATH, AT_FDCWD } = native.constants

/** Running out of descriptors is the host's limit, not one of a guest process. */
export function descriptorError(error: number): number {
  return error === -EMFILE ? -ENFILE : error
}

/** O_PATH on a directory. Throws when it cannot be opened. */
export function openPath(path: string): number {
  const name = new TextEncoder().encode(`${path}\0`)
  const fd = native.openat(AT_FDCWD, name, 0, O_PATH | O_DIRECTORY | O_CLOEXEC, 0)
  if (fd < 0) throw new Error(`${path} cannot be opened: errno ${-fd}`)
  return fd
}

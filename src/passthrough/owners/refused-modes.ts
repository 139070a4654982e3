import { EPERM } from 'virtio-fs-ts/protocol'

const S_IFMT = 0o170000
const S_IFDIR = 0o040000
const S_IFCHR = 0o020000
const S_IFBLK = 0o060000
const SET_ID_BITS = 0o6000

/** Kinds of files that a share keeps its guest from making on the host. */
export interface RefusedModes {
  readonly allowSuid: boolean
  readonly allowDev: boolean
}

/** Returns 0, or -EPERM for the mode of a file that runs as another user. On directories, these bits mean other things. */
export function refusalOfMode({ allowSuid }: RefusedModes, mode: number, isDirectory = false): number {
  return allowSuid || isDirectory || (mode & SET_ID_BITS) === 0 ? 0 : -EPERM
}

/** The same for MKNOD. A character device 0 is allowed: overlayfs marks deleted files with it. */
export function refusalOfNode(refused: RefusedModes, mode: number, device: number): number {
  const type = mode & S_IFMT
  if (!refused.allowDev && (type === S_IFBLK || (type === S_IFCHR && device !== 0))) return -EPERM
  return refusalOfMode(refused, mode, type === S_IFDIR)
}

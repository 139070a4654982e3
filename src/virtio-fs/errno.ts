import { constants } from 'node:os'

/** Errors of operations, positive as in errno(3). Operations return them negated. */
export const {
  E2BIG,
  EACCES,
  EAGAIN,
  EBADF,
  ECANCELED,
  EDEADLK,
  EDQUOT,
  EEXIST,
  EFBIG,
  EILSEQ,
  EINTR,
  EINVAL,
  EIO,
  EISDIR,
  ELOOP,
  EMFILE,
  ENAMETOOLONG,
  ENFILE,
  ENODATA,
  ENOENT,
  ENOLCK,
  ENOMEM,
  ENOSPC,
  ENOSYS,
  ENOTCONN,
  ENOTDIR,
  ENOTEMPTY,
  ENOTTY,
  ENXIO,
  EOPNOTSUPP,
  EOVERFLOW,
  EPERM,
  EPROTO,
  ERANGE,
  EROFS,
  ESTALE,
  ETIMEDOUT,
  ETXTBSY,
  EXDEV,
} = constants.errno

/** FUSE has no errors from here on. */
const MAX_ERROR = 512
/** ENOTSUPP, which is not ENOTSUP: a kernel's own number for what a file system does not support. */
const KERNEL_ENOTSUPP = 524

/**
 * The negative errno that the guest gets for one of the host. Some file systems let errors out that Linux keeps to itself,
 * such as NFS for what its server does not support. A guest would take a reply with one for broken.
 */
export function errorForGuest(error: number): number {
  if (error > -MAX_ERROR) return error
  return error === -KERNEL_ENOTSUPP ? -EOPNOTSUPP : -EIO
}

const numbers = new Map<string, number>(Object.entries(constants.errno))
const names = new Map([...numbers].map(([name, number]) => [number, name]))

/** The number of an error by its name, or undefined. */
export function errnoNumber(name: string): number | undefined {
  return numbers.get(name)
}

/** The error's name, for logs: "ENOENT" for 2. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`
}

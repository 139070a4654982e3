import { constants } from 'node:os'

/** Errors of operations, positive as in errno(3); operations return them negated. */
export const {
  E2BIG,
  EACCES,
  EAGAIN,
  EBADF,
  EEXIST,
  EFBIG,
  EINTR,
  EINVAL,
  EIO,
  EISDIR,
  ELOOP,
  EMFILE,
  ENAMETOOLONG,
  ENFILE,
  ENOENT,
  ENOMEM,
  ENOSPC,
  ENOSYS,
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
  EXDEV,
} = constants.errno

/** Not in node:os. */
export const ESTALE = 116

const names = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]))

/** The error's name, for logs: "ENOENT" for 2. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? (errno === ESTALE ? 'ESTALE' : `errno ${errno}`)
}

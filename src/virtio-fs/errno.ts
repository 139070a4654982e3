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
  ENODATA,
  ENOENT,
  ENOLCK,
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
  ETXTBSY,
  EXDEV,
} = constants.errno

/** Not in node:os. */
export const ESTALE = 116

const names = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]))

/** The number of an error by its name, or undefined. */
export function errnoNumber(name: string): number | undefined {
  return name === 'ESTALE' ? ESTALE : constants.errno[name as keyof typeof constants.errno]
}

/** The error's name, for logs: "ENOENT" for 2. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? (errno === ESTALE ? 'ESTALE' : `errno ${errno}`)
}

import { constants } from 'node:fs'

/** Open flags. The guest's have the same numbers as the host's, because both have the same architecture. */
export const OpenFlag = Object.freeze({
  O_RDONLY: constants.O_RDONLY,
  O_WRONLY: constants.O_WRONLY,
  O_RDWR: constants.O_RDWR,
  O_ACCMODE: 3,
  O_APPEND: constants.O_APPEND,
  O_CLOEXEC: 0o2_000_000,
  O_CREAT: constants.O_CREAT,
  O_DIRECT: constants.O_DIRECT,
  O_DIRECTORY: constants.O_DIRECTORY,
  O_DSYNC: constants.O_DSYNC,
  O_EXCL: constants.O_EXCL,
  O_NOATIME: constants.O_NOATIME,
  O_NOCTTY: constants.O_NOCTTY,
  O_NOFOLLOW: constants.O_NOFOLLOW,
  O_NONBLOCK: constants.O_NONBLOCK,
  O_PATH: 0o10_000_000,
  O_SYNC: constants.O_SYNC,
  O_TMPFILE: 0o20_000_000 | constants.O_DIRECTORY,
  O_TRUNC: constants.O_TRUNC,
})

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from '../../host/setup-error.js'
import { ENTER_XFSTESTS_HOME } from './xfstests-home.js'

/** The outcome of a case. `skip`: the case itself says that it does not apply. */
export type Outcome = 'pass' | 'fail' | 'skip'

/** A public suite, built on this machine. A guest sees it at SUITE_DIR of its Debian system. */
export interface Suite {
  readonly name: string
  /** A file below the suite's path, by which the suite is recognised. */
  readonly mark: string
  /** Debian packages that its cases need. */
  readonly packages: readonly string[]
  /** The names of its cases, in their order. */
  cases(path: string): string[]
  /** The shell command for a case, run in an empty directory of the share. */
  command(name: string, path: string): string
  outcomeOf(status: number | null, output: string): Outcome
}

export const SUITE_DIR = '/run/supplies'

/** LTP's exit statuses are bit masks; this status alone means that a case does not apply. */
const TCONF = 32

/** LTP's system calls on files, by the beginnings of its case names. */
const FILE_CALLS =
  /^(access|chdir|chmod|chown|close|copy_file_range|creat|dup|faccessat|fallocate|fchdir|fchmod|fchown|fcntl|fdatasync|fgetxattr|flistxattr|flock|fremovexattr|fsetxattr|fstat|fsync|ftruncate|futimesat|getcwd|getdents|getxattr|lchown|lgetxattr|link|linkat|listxattr|llistxattr|llseek|lremovexattr|lseek|lstat|mkdir|mknod|mmap|msync|open|pread|preadv|pwrite|pwritev|read|readahead|readdir|readlink|readv|removexattr|rename|rmdir|sendfile|setxattr|stat|statfs|statvfs|statx|symlink|sync|truncate|umask|unlink|utime|utimensat|utimes|write|writev)(at|fs|2|64|_file_range)?[0-9_]/

const pjdfstest: Suite = {
  name: 'pjdfstest',
  mark: 'tests/misc.sh',
  // The cases use digests as file names, which this package computes.
  packages: ['openssl'],
  cases(path) {
    if (!existsSync(join(path, 'pjdfstest'))) throw new SetupError(`${path}: pjdfstest is not built there`)
    return readdirSync(join(path, 'tests'), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.t'))
      .sort()
  },
  command: (name) => `prove -Q ${SUITE_DIR}/tests/${name}`,
  outcomeOf: (status, output) => (status !== 0 ? 'fail' : /NOTESTS|skipped/.test(output) ? 'skip' : 'pass'),
}

const ltp: Suite = {
  name: 'LTP',
  mark: 'runtest/syscalls',
  packages: [],
  cases: (path) =>
    [...ltpLines(path)]
      .filter(([name, words]) => FILE_CALLS.test(name) && isThere(path, words))
      .map(([name]) => name),
  command(name, path) {
    const setup = `chmod 777 . && LTPROOT=${SUITE_DIR} PATH=${SUITE_DIR}/testcases/bin:$PATH TMPDIR=$PWD LTP_TIMEOUT_MUL=5`
    return `${setup} ${ltpLines(path).get(name)!.join(' ')} 2>&1`
  },
  // Without a disk, a case that makes its own file system proves nothing about the share.
  outcomeOf: (status, output) =>
    status === 0 ? 'pass' : status === TCONF || output.includes('Failed to acquire device') ? 'skip' : 'fail',
}

const xfstests: Suite = {
  name: 'xfstests',
  mark: 'tests/generic/001',
  packages: [
    'xfsprogs',
    'hostname',
    'bsdutils',
    'gawk',
    'bc',
    'uuid-runtime',
    'quota',
    'bsdextrautils',
    'libaio1t64',
    'libuuid1',
    'fio',
    'iproute2',
  ],
  cases(path) {
    if (!existsSync(join(path, 'src/af_unix'))) throw new SetupError(`${path}: xfstests is not built there`)
    return readdirSync(join(path, 'tests/generic'))
      .filter((name) => /^\d+$/.test(name))
      .sort()
      .filter((name) =>
        /^_begin_fstest .*\bquick\b/m.test(readFileSync(join(path, 'tests/generic', name), 'utf8')),
      )
      .map((name) => `generic/${name}`)
  },
  command: (name) =>
    `${ENTER_XFSTESTS_HOME}; cd ${SUITE_DIR} && FSTYP=virtiofs TEST_DEV=work TEST_DIR=/mnt RESULT_BASE=/tmp/results ./check ${name} 2>&1`,
  outcomeOf: (status, output) => (/\[not run\]/.test(output) ? 'skip' : status === 0 ? 'pass' : 'fail'),
}

/** The suites, by the option that gives their path. */
export const SUITES = { pjdfstest, xfstests, ltp } as const
export type SuiteOption = keyof typeof SUITES

/** Throws SetupError for a path where the suite is not. */
export function checkPlace({ name, mark }: Suite, path: string): void {
  if (!existsSync(join(path, mark))) throw new SetupError(`${path} is no ${name}: there is no ${mark}`)
}

/** Returns the words of each LTP case's command. */
function ltpLines(path: string): Map<string, string[]> {
  const lines = readFileSync(join(path, 'runtest/syscalls'), 'utf8').split('\n')
  const cases = lines
    .map((line) => line.trim().split(/\s+/))
    .filter(([name = '#', command]) => !name.startsWith('#') && command)
  return new Map(cases.map(([name = '', ...words]) => [name, words]))
}

/** Returns the existing cases of a suite that was built only in part. */
function isThere(path: string, [program = '']: readonly string[]): boolean {
  return existsSync(join(path, 'testcases/bin', program))
}

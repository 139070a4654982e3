import { cacheModes } from '../io-mode/cache-policy.js'

/** One command line option. The table drives parsing, --help and the reference in the documentation. */
export interface OptionSpec {
  /** As commander takes them: "--name <value>" or "--name". */
  readonly flags: string
  readonly group: 'Share' | 'Caching and I/O' | 'Process'
  readonly text: string
  readonly choices?: readonly string[]
  readonly default?: string
}

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
export const sandboxes = ['none', 'namespace', 'chroot'] as const

export const optionSpecs: readonly OptionSpec[] = [
  { flags: '--shared-dir <dir>', group: 'Share', text: 'directory to share (required)' },
  { flags: '--socket-path <path>', group: 'Share', text: 'vhost-user socket to listen at (required)' },
  { flags: '--tag <tag>', group: 'Share', text: 'mount tag, for front-ends that take it from the device' },
  { flags: '--readonly', group: 'Share', text: 'refuse every change with EROFS' },
  {
    flags: '--cache <mode>',
    group: 'Caching and I/O',
    text: 'what the guest may cache: never (direct I/O), metadata, auto (for a second), always',
    choices: cacheModes,
    default: 'auto',
  },
  {
    flags: '--allow-mmap',
    group: 'Caching and I/O',
    text: 'negotiate FUSE_DIRECT_IO_ALLOW_MMAP: MAP_SHARED works on direct-io files (Linux 6.6+)',
  },
  {
    flags: '--parallel-dio',
    group: 'Caching and I/O',
    text: 'set FOPEN_PARALLEL_DIRECT_WRITES on direct-io opens: non-extending writes overlap (Linux 6.2+)',
  },
  {
    flags: '--allow-direct-io',
    group: 'Caching and I/O',
    text: "keep the guest's O_DIRECT on the host's file",
  },
  { flags: '--writeback', group: 'Caching and I/O', text: 'let the guest write back from its page cache' },
  { flags: '--no-readdirplus', group: 'Caching and I/O', text: 'list directories without attributes' },
  {
    flags: '--poll-us <n>',
    group: 'Process',
    text: 'spin on the rings up to this many microseconds before sleeping; 0 never spins',
    default: '50',
  },
  {
    flags: '--rlimit-nofile <n>',
    group: 'Process',
    text: 'limit of open files to set; 0 leaves the one that is',
    default: '1000000',
  },
  {
    flags: '--keep-alive',
    group: 'Process',
    text: 'listen again when a front-end has left, instead of ending',
  },
  {
    flags: '--sandbox <kind>',
    group: 'Process',
    text: 'how the process confines itself; only none exists yet',
    choices: sandboxes,
    default: 'none',
  },
  {
    flags: '--log-level <level>',
    group: 'Process',
    text: 'least severe messages to log',
    choices: logLevels,
    default: 'info',
  },
]

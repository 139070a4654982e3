import { flag, list, type OptionSpec, text } from '../option-spec.js'

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'off'] as const
export type LogLevel = (typeof logLevels)[number]

/** The confinement of the process: a root and namespaces of its own, only a root of its own, or none. */
const sandboxes = ['namespace', 'chroot', 'none'] as const
export type Sandbox = (typeof sandboxes)[number]

/** The effect of a system call that is not allowed. */
const seccompActions = ['none', 'log', 'trap', 'kill'] as const
export type SeccompAction = (typeof seccompActions)[number]

/** The socket at which the system log takes messages. */
const SYSLOG_SOCKET = '/dev/log'

/** Options of the process, common to all of its shares. */
export const processOptions = [
  {
    name: 'poll-us',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 1_000_000, unit: 'microseconds' },
    scope: 'share',
    text: 'spin on the rings up to this many microseconds before sleeping; 0 never spins',
    default: '50',
  },
  {
    name: 'thread-pool-size',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 2 ** 16, unit: 'threads' },
    scope: 'share',
    text: "the most threads that copy large reads beside the share's thread, while processors are free; by default one for each further processor, at most 4",
  },
  {
    name: 'share-threads',
    argument: 'n',
    kind: { type: 'count', min: 1, max: 4096, unit: 'threads' },
    scope: 'process',
    text: 'up to this many shares have a thread each; more shares are divided among this many threads. By default one for each processor that the process may use',
  },
  {
    name: 'own-thread',
    kind: flag,
    scope: 'share',
    text: 'serve the share on a thread of its own, however many shares there are: no other one waits when the host holds it up',
  },
  {
    name: 'queue-threads',
    argument: 'n',
    kind: { type: 'count', min: 1, max: 64, unit: 'threads' },
    scope: 'share',
    text: 'the most threads that serve the request queues of a share, if its front-end offers several. By default one for every two processors, at most 4',
  },
  {
    name: 'rlimit-nofile',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 2 ** 30, unit: 'files' },
    scope: 'process',
    text: 'set the limit of open files; 0 leaves it as it is',
    default: '1000000',
  },
  {
    name: 'sandbox',
    argument: 'kind',
    kind: { type: 'choice', choices: sandboxes },
    scope: 'process',
    text: 'what the process sees of the host. namespace: only the shares, in namespaces of its own; chroot: only the share (needs root); none: everything, the default if there is no share but --file-system',
    default: 'namespace',
  },
  {
    name: 'uid-map',
    argument: 'range',
    kind: list,
    scope: 'process',
    text: 'users of the host in the sandbox namespace, as :INSIDE:OUTSIDE:COUNT:, such as :0:100000:65536:; may be repeated',
  },
  {
    name: 'gid-map',
    argument: 'range',
    kind: list,
    scope: 'process',
    text: 'the same for groups',
  },
  {
    name: 'seccomp',
    argument: 'action',
    kind: { type: 'choice', choices: seccompActions },
    scope: 'process',
    text: 'what happens at a system call that serving does not need. none: nothing, the default if there is no share but --file-system; log: a line in the kernel log; trap: SIGSYS; kill: the process ends',
    default: 'kill',
  },
  {
    name: 'modcaps',
    argument: 'words',
    kind: text,
    scope: 'process',
    text: 'capabilities that root keeps (+) or drops (-), such as +SYS_ADMIN:-MKNOD',
  },
  {
    name: 'log-level',
    argument: 'level',
    kind: { type: 'choice', choices: logLevels },
    scope: 'process',
    text: 'the least severe level to log',
    default: 'info',
  },
  {
    name: 'syslog',
    argument: 'socket',
    bare: SYSLOG_SOCKET,
    kind: text,
    scope: 'process',
    text: 'log to the system log instead of standard error',
  },
] as const satisfies readonly OptionSpec[]

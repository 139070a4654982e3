import { list, type OptionSpec, text } from '../option-spec.js'

const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'off'] as const
export type LogLevel = (typeof logLevels)[number]

/** What a process may be confined to: its own root and namespaces, its own root, or nothing. */
const sandboxes = ['namespace', 'chroot', 'none'] as const
export type Sandbox = (typeof sandboxes)[number]

/** What meets a system call that is not allowed. */
const seccompActions = ['none', 'log', 'trap', 'kill'] as const
export type SeccompAction = (typeof seccompActions)[number]

/** Where the system's log takes messages. */
const SYSLOG_SOCKET = '/dev/log'

/** What the process is, for all of its shares. */
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
    name: 'rlimit-nofile',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 2 ** 30, unit: 'files' },
    scope: 'process',
    text: 'limit of open files to set; 0 leaves the one that is',
    default: '1000000',
  },
  {
    name: 'sandbox',
    argument: 'kind',
    kind: { type: 'choice', choices: sandboxes },
    scope: 'process',
    text: 'what the process sees of the host: the shares alone, in namespaces of its own; the share alone (chroot, root only); everything',
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
    text: 'what meets a system call that serving does not need: nothing, a line in the kernel log, SIGSYS, the end',
    default: 'kill',
  },
  {
    name: 'modcaps',
    argument: 'words',
    kind: text,
    scope: 'process',
    text: 'capabilities that root keeps or drops, such as +SYS_ADMIN:-MKNOD',
  },
  {
    name: 'log-level',
    argument: 'level',
    kind: { type: 'choice', choices: logLevels },
    scope: 'process',
    text: 'least severe messages to log',
    default: 'info',
  },
  {
    name: 'syslog',
    argument: 'socket',
    bare: SYSLOG_SOCKET,
    kind: text,
    scope: 'process',
    text: "log to the system's log instead of standard error",
  },
] as const satisfies readonly OptionSpec[]

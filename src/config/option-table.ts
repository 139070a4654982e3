import { cacheModes, directIoModes } from '../io-mode/cache-policy.js'
import { sandboxes, seccompActions } from '../sandbox/kinds.js'

/** How an option's value is read. */
export type ValueKind =
  | { readonly type: 'flag' }
  | { readonly type: 'text' }
  | { readonly type: 'choice'; readonly choices: readonly string[] }
  | { readonly type: 'count'; readonly min: number; readonly max: number; readonly unit: string }
  | { readonly type: 'seconds' }
  /** May be given several times. */
  | { readonly type: 'list' }

/** Where an option may stand besides the command line: in a share, in a rule of a share, or for the process alone. */
export type Scope = 'process' | 'share' | 'rule'

/** One option. The table drives the command line, `--share`, the configuration file, --help and the reference. */
export interface OptionSpec {
  /** The long option, and its key in `--share` and in the file. */
  readonly name: string
  /** Other names that mean the same. */
  readonly aliases?: readonly string[]
  /** What the value is called in --help. */
  readonly argument?: string
  readonly kind: ValueKind
  readonly scope: Scope
  readonly group: 'Share' | 'Caching and I/O' | 'Seeing and disturbing' | 'Several shares' | 'Process'
  readonly text: string
  /** Written as on the command line; a flag without one is false. */
  readonly default?: string | boolean
  /** On the command line the flag is `--no-NAME`, and true without it. */
  readonly negated?: true
}

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

const flag: ValueKind = { type: 'flag' }
const text: ValueKind = { type: 'text' }
const seconds: ValueKind = { type: 'seconds' }
const list: ValueKind = { type: 'list' }

export const optionTable: readonly OptionSpec[] = [
  {
    name: 'shared-dir',
    aliases: ['path'],
    argument: 'dir',
    kind: text,
    scope: 'share',
    group: 'Share',
    text: 'directory to share (required)',
  },
  {
    name: 'socket-path',
    aliases: ['socket'],
    argument: 'path',
    kind: text,
    scope: 'share',
    group: 'Share',
    text: 'vhost-user socket to listen at (required)',
  },
  {
    name: 'tag',
    argument: 'tag',
    kind: text,
    scope: 'share',
    group: 'Share',
    text: 'names the share in logs, and for front-ends that take the mount tag from the device',
  },
  { name: 'readonly', kind: flag, scope: 'share', group: 'Share', text: 'refuse every change with EROFS' },
  {
    name: 'keep-alive',
    kind: flag,
    scope: 'share',
    group: 'Share',
    text: 'listen again when a front-end has left, instead of ending',
  },
  {
    name: 'cache',
    argument: 'mode',
    kind: { type: 'choice', choices: cacheModes },
    scope: 'rule',
    group: 'Caching and I/O',
    text: 'what the guest may cache: never (direct I/O), metadata, auto (for a second), always',
    default: 'auto',
  },
  {
    name: 'direct-io',
    argument: 'when',
    kind: { type: 'choice', choices: directIoModes },
    scope: 'rule',
    group: 'Caching and I/O',
    text: "opens that reply FOPEN_DIRECT_IO: as the cache mode says, all, those with the guest's O_DIRECT, none",
    default: 'policy',
  },
  {
    name: 'parallel-dio',
    aliases: ['parallel-direct-writes'],
    kind: flag,
    scope: 'rule',
    group: 'Caching and I/O',
    text: 'set FOPEN_PARALLEL_DIRECT_WRITES on direct-io opens: non-extending writes to one file overlap in the guest (Linux 6.2+)',
  },
  {
    name: 'allow-mmap',
    aliases: ['direct-io-relax'],
    kind: flag,
    scope: 'share',
    group: 'Caching and I/O',
    text: 'negotiate FUSE_DIRECT_IO_ALLOW_MMAP, called DIRECT_IO_RELAX in early 6.6: MAP_SHARED works on direct-io files (Linux 6.6+; on 6.6-6.8 it switches parallel-dio off)',
  },
  {
    name: 'allow-direct-io',
    kind: flag,
    scope: 'share',
    group: 'Caching and I/O',
    text: "keep the guest's O_DIRECT on the host's file",
  },
  {
    name: 'writeback',
    kind: flag,
    scope: 'share',
    group: 'Caching and I/O',
    text: 'let the guest write back from its page cache',
  },
  {
    name: 'readdirplus',
    kind: flag,
    negated: true,
    scope: 'share',
    group: 'Caching and I/O',
    text: 'list directories without attributes',
    default: true,
  },
  {
    name: 'keep-cache',
    kind: flag,
    scope: 'rule',
    group: 'Caching and I/O',
    text: 'set FOPEN_KEEP_CACHE on opens that are not direct, whatever the cache mode',
  },
  {
    name: 'noflush',
    kind: flag,
    scope: 'rule',
    group: 'Caching and I/O',
    text: 'set FOPEN_NOFLUSH: no FLUSH request at each close in the guest',
  },
  {
    name: 'entry-timeout',
    argument: 'seconds',
    kind: seconds,
    scope: 'rule',
    group: 'Caching and I/O',
    text: "how long names stay valid in the guest, instead of the cache mode's time",
  },
  {
    name: 'attr-timeout',
    argument: 'seconds',
    kind: seconds,
    scope: 'rule',
    group: 'Caching and I/O',
    text: "how long attributes stay valid in the guest, instead of the cache mode's time",
  },
  {
    name: 'negative-timeout',
    argument: 'seconds',
    kind: seconds,
    scope: 'share',
    group: 'Caching and I/O',
    text: 'how long the guest may believe that a name is not there (0: not at all)',
  },
  {
    name: 'inspect',
    kind: flag,
    scope: 'share',
    group: 'Seeing and disturbing',
    text: 'count overlap and latencies from the start; the control socket can ask for it later',
  },
  {
    name: 'trace',
    argument: 'file',
    kind: text,
    scope: 'share',
    group: 'Seeing and disturbing',
    text: 'record every request in FILE; "virtiofsd-ts trace FILE" prints it',
  },
  {
    name: 'trace-size',
    argument: 'mib',
    kind: { type: 'count', min: 1, max: 1_000_000, unit: 'MiB' },
    scope: 'share',
    group: 'Seeing and disturbing',
    text: 'begin a new trace file after so many MiB; one older file, FILE.1, is kept',
    default: '64',
  },
  {
    name: 'fault',
    argument: 'words',
    kind: list,
    scope: 'share',
    group: 'Seeing and disturbing',
    text: 'hold, delay, fail or shorten some requests, such as opcode=WRITE,path=**/db,hold=2,timeout-ms=300; may be repeated',
  },
  {
    name: 'withhold',
    argument: 'opcodes',
    kind: text,
    scope: 'share',
    group: 'Seeing and disturbing',
    text: 'answer opcodes with ENOSYS, such as STATX+LSEEK',
  },
  {
    name: 'init-on',
    argument: 'flags',
    kind: text,
    scope: 'share',
    group: 'Seeing and disturbing',
    text: 'set INIT flags in the reply whatever was agreed on, such as ASYNC_DIO+PARALLEL_DIROPS',
  },
  {
    name: 'init-off',
    argument: 'flags',
    kind: text,
    scope: 'share',
    group: 'Seeing and disturbing',
    text: 'leave INIT flags out of the reply whatever was agreed on',
  },
  {
    name: 'init-minor',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 1000, unit: 'a minor version' },
    scope: 'share',
    group: 'Seeing and disturbing',
    text: 'reply a minor version that is no higher than this',
  },
  {
    name: 'unsafe-faults',
    kind: flag,
    scope: 'share',
    group: 'Seeing and disturbing',
    text: "allow faults that break the protocol, to test a guest's verifier",
  },
  {
    name: 'control-socket',
    argument: 'path',
    kind: text,
    scope: 'process',
    group: 'Seeing and disturbing',
    text: 'answer "virtiofsd-ts ctl" at this socket (JSON lines)',
  },
  {
    name: 'poll-us',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 1_000_000, unit: 'microseconds' },
    scope: 'share',
    group: 'Process',
    text: 'spin on the rings up to this many microseconds before sleeping; 0 never spins',
    default: '50',
  },
  {
    name: 'rlimit-nofile',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 2 ** 30, unit: 'files' },
    scope: 'process',
    group: 'Process',
    text: 'limit of open files to set; 0 leaves the one that is',
    default: '1000000',
  },
  {
    name: 'sandbox',
    argument: 'kind',
    kind: { type: 'choice', choices: sandboxes },
    scope: 'process',
    group: 'Process',
    text: 'what the process sees of the host: the shares alone, in namespaces of its own; the share alone (chroot, root only); everything',
    default: 'namespace',
  },
  {
    name: 'seccomp',
    argument: 'action',
    kind: { type: 'choice', choices: seccompActions },
    scope: 'process',
    group: 'Process',
    text: 'what meets a system call that serving does not need: nothing, a line in the kernel log, SIGSYS, the end',
    default: 'kill',
  },
  {
    name: 'modcaps',
    argument: 'words',
    kind: text,
    scope: 'process',
    group: 'Process',
    text: 'capabilities to keep or drop in a sandbox, such as +SYS_ADMIN:-MKNOD',
  },
  {
    name: 'log-level',
    argument: 'level',
    kind: { type: 'choice', choices: logLevels },
    scope: 'process',
    group: 'Process',
    text: 'least severe messages to log',
    default: 'info',
  },
]

/** Of every name and alias, its option. */
export const optionsByName: ReadonlyMap<string, OptionSpec> = new Map(
  optionTable.flatMap((spec) => [spec.name, ...(spec.aliases ?? [])].map((name) => [name, spec] as const)),
)

/** Whether an option may stand in a place. */
export function allowedIn(spec: OptionSpec, place: 'share' | 'rule'): boolean {
  return spec.scope === 'rule' || spec.scope === place
}

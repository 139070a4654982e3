import { cacheModes, directIoModes } from 'virtio-fs-ts/protocol'
import { flag, type OptionSpec, seconds } from '../option-spec.js'

/** Options for the guest's caches, and for the way of its I/O to the host. */
export const cachingOptions = [
  {
    name: 'cache',
    argument: 'mode',
    kind: { type: 'choice', choices: cacheModes },
    scope: 'rule',
    text: 'what the guest may cache. never: nothing, and I/O is direct; metadata: names and attributes; auto: these for a second, data until the next open; always: everything',
    default: 'auto',
  },
  {
    name: 'direct-io',
    argument: 'when',
    kind: { type: 'choice', choices: directIoModes },
    scope: 'rule',
    text: "which opens reply FOPEN_DIRECT_IO. policy: as --cache says; always: all; o-direct: those with the guest's O_DIRECT; never: none",
    default: 'policy',
  },
  {
    name: 'parallel-dio',
    aliases: ['parallel-direct-writes'],
    kind: flag,
    scope: 'rule',
    text: 'set FOPEN_PARALLEL_DIRECT_WRITES on direct-io opens: non-extending writes to one file overlap in the guest (Linux 6.2+)',
  },
  {
    name: 'allow-mmap',
    aliases: ['direct-io-relax'],
    kind: flag,
    scope: 'share',
    text: 'negotiate FUSE_DIRECT_IO_ALLOW_MMAP, called DIRECT_IO_RELAX in early 6.6: MAP_SHARED works on direct-io files (Linux 6.6+; on 6.6-6.8 it switches parallel-dio off)',
  },
  {
    name: 'allow-direct-io',
    kind: flag,
    scope: 'share',
    text: "keep the guest's O_DIRECT on the host's file",
  },
  {
    name: 'preserve-noatime',
    kind: flag,
    scope: 'share',
    text: "keep the guest's O_NOATIME on the host's file; the host refuses it for files of other users, unless root runs the device",
  },
  {
    name: 'writeback',
    kind: flag,
    scope: 'share',
    text: 'let the guest collect writes in its page cache and write them back later',
  },
  {
    name: 'readdirplus',
    kind: flag,
    negated: true,
    scope: 'share',
    text: 'list directories without attributes',
    default: true,
  },
  {
    name: 'keep-cache',
    kind: flag,
    scope: 'rule',
    text: 'set FOPEN_KEEP_CACHE on opens that are not direct, whatever the cache mode',
  },
  {
    name: 'noflush',
    kind: flag,
    scope: 'rule',
    text: 'set FOPEN_NOFLUSH: the guest sends no FLUSH at each close',
  },
  {
    name: 'entry-timeout',
    argument: 'seconds',
    kind: seconds,
    scope: 'rule',
    text: "how long names stay valid in the guest, instead of the cache mode's time",
  },
  {
    name: 'attr-timeout',
    argument: 'seconds',
    kind: seconds,
    scope: 'rule',
    text: "how long attributes stay valid in the guest, instead of the cache mode's time",
  },
  {
    name: 'negative-timeout',
    argument: 'seconds',
    kind: seconds,
    scope: 'share',
    text: 'how long the guest may remember that a name does not exist; by default not at all',
  },
] as const satisfies readonly OptionSpec[]

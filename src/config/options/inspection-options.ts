import { flag, list, type OptionSpec, text } from '../option-spec.js'

/** Options for records, and for requests that are disturbed on purpose. */
export const inspectionOptions = [
  {
    name: 'inspect',
    kind: flag,
    scope: 'share',
    text: 'count overlap and latencies from the start; the control socket can also turn this on later',
  },
  {
    name: 'trace',
    argument: 'file',
    kind: text,
    scope: 'share',
    text: 'record every request in FILE; "virtiofsd-ts trace FILE" prints it',
  },
  {
    name: 'trace-size',
    argument: 'mib',
    kind: { type: 'count', min: 1, max: 1_000_000, unit: 'MiB' },
    scope: 'share',
    text: 'begin a new trace file after this many MiB; one older file, FILE.1, is kept',
    default: '64',
  },
  {
    name: 'fault',
    argument: 'words',
    kind: list,
    scope: 'share',
    text: 'hold, delay, fail or shorten some requests, such as opcode=WRITE,path=**/db,hold=2,timeout-ms=300; may be repeated',
  },
  {
    name: 'withhold',
    argument: 'opcodes',
    kind: text,
    scope: 'share',
    text: 'answer these opcodes with ENOSYS, such as STATX+LSEEK',
  },
  {
    name: 'init-on',
    argument: 'flags',
    kind: text,
    scope: 'share',
    text: 'always set these flags in the reply to INIT, such as ASYNC_DIO+PARALLEL_DIROPS',
  },
  {
    name: 'init-off',
    argument: 'flags',
    kind: text,
    scope: 'share',
    text: 'never set these flags in the reply to INIT',
  },
  {
    name: 'init-minor',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 1000, unit: 'minor version' },
    scope: 'share',
    text: 'reply to INIT with a minor version no higher than this',
  },
  {
    name: 'unsafe-faults',
    kind: flag,
    scope: 'share',
    text: "allow faults that break the protocol, to test a guest's verifier",
  },
  {
    name: 'control-socket',
    argument: 'path',
    kind: text,
    scope: 'process',
    text: 'accept "virtiofsd-ts ctl" at this socket (JSON lines), and its changes of the process at PATH.live',
  },
  {
    name: 'metrics',
    argument: 'address',
    kind: text,
    scope: 'process',
    text: 'serve figures for Prometheus over HTTP at HOST:PORT, at PORT of 127.0.0.1, or at unix:PATH',
  },
] as const satisfies readonly OptionSpec[]

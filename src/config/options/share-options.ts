import { flag, type OptionSpec, text } from '../option-spec.js'

/** The directory or file system of a share, and its socket. */
export const shareOptions = [
  {
    name: 'shared-dir',
    aliases: ['path'],
    argument: 'dir',
    kind: text,
    scope: 'share',
    text: 'directory to share; required, unless --file-system makes one',
  },
  {
    name: 'file-system',
    argument: 'module',
    kind: text,
    scope: 'share',
    text: 'serve what a JavaScript module makes instead of a directory: module.js, or module.js?option=value for its function',
  },
  {
    name: 'socket-path',
    aliases: ['socket'],
    argument: 'path',
    kind: text,
    scope: 'share',
    text: 'vhost-user socket to listen at; this or --fd is required',
  },
  {
    name: 'fd',
    argument: 'n',
    kind: { type: 'count', min: 0, max: 2 ** 20, unit: 'descriptor' },
    scope: 'share',
    text: 'number of an inherited listening socket, instead of --socket-path',
  },
  {
    name: 'socket-group',
    argument: 'group',
    kind: text,
    scope: 'share',
    text: 'group that may connect to the socket, besides its owner',
  },
  {
    name: 'tag',
    argument: 'tag',
    kind: text,
    scope: 'share',
    text: 'names the share in logs, and for front-ends that take the mount tag from the device',
  },
  {
    name: 'readonly',
    kind: flag,
    scope: 'share',
    text: 'refuse every change with EROFS; also mount with -o ro in the guest, so that access(2) and statvfs(3) agree',
  },
  {
    name: 'suid',
    kind: flag,
    negated: true,
    scope: 'share',
    text: 'refuse set-user-id and set-group-id bits and file capabilities with EPERM, so that the guest cannot leave programs that run as another user on the host',
    default: true,
  },
  {
    name: 'dev',
    kind: flag,
    negated: true,
    scope: 'share',
    text: 'refuse device nodes with EPERM, except the whiteouts of overlayfs',
    default: true,
  },
  {
    name: 'keep-alive',
    kind: flag,
    scope: 'share',
    text: 'listen again when a front-end has left, instead of exiting',
  },
] as const satisfies readonly OptionSpec[]

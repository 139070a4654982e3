import { commandTable } from '../config/command-table.js'
import type { OptionSpec } from '../config/option-spec.js'
import { optionGroups } from '../config/option-table.js'
import { notesOf, shownForm } from '../config/option-text.js'

const description = `A vhost-user device: QEMU, or another virtual machine monitor, connects to its socket, and the guest mounts the
directory as virtiofs. One process may serve several directories, each at a socket of its own.

The process confines itself before it answers a front-end. By default it sees only the shared directories of the host, and
can make only those system calls that serving needs.

It ends with status 0 when its front-ends have left.`

const exitStatus: readonly (readonly [string, string])[] = [
  ['0', 'The front-end has left; or SIGTERM, SIGINT or SIGQUIT came; or SIGHUP came without --config.'],
  ['1', 'A share failed.'],
  ['2', 'An option or a file is wrong, or the sandbox cannot be made. One line says what is wrong, and why.'],
  ['128+N', 'The process that serves was ended by signal N.'],
]

const signals: readonly (readonly [string, string])[] = [
  ['SIGTERM, SIGINT, SIGQUIT', 'End the process, and remove its sockets.'],
  ['SIGHUP', 'Reads the file of --config again. Without --config it ends the process.'],
  [
    'SIGUSR2',
    'Starts the program again, which goes on in the place of this process while guests stay connected: as "virtiofsd-ts ctl replace". Without a sandbox the process needs --control-socket or --config for this.',
  ],
]

const files: readonly (readonly [string, string])[] = [
  [
    'SOCKET',
    'the vhost-user socket; made with mode 0600, or 0660 with --socket-group, and removed at the end',
  ],
  ['SOCKET.pid', 'has the process id; the process holds a lock on it while it runs'],
  [
    'CONTROL',
    'the path of --control-socket: the control socket; made with mode 0600, and removed at the end',
  ],
  [
    'CONTROL.live',
    'beside it, the socket of "virtiofsd-ts ctl" for share-add, share-remove, reload and replace; made and removed like it',
  ],
  [
    '50-virtiofsd-ts.json',
    'in /usr/share/qemu/vhost-user or /etc/qemu/vhost-user: tells libvirt of this program',
  ],
]

const examples: readonly (readonly [string, string])[] = [
  [
    'A directory for one guest; the line that it logs has the arguments for QEMU:',
    'virtiofsd-ts --shared-dir /srv/data --socket-path /run/data.sock --tag data',
  ],
  ['In the guest:', 'mount -t virtiofs data /mnt'],
  [
    'Direct I/O, with writes to one file that overlap in the guest:',
    'virtiofsd-ts --shared-dir /srv/db --socket-path /run/db.sock --cache never --parallel-dio --allow-mmap',
  ],
]

/** Renders the manual page in the macros of man(7). */
export function manualPage(version: string): string {
  return `${[
    `.\\" Made from the option table in src/config/ by "make build".`,
    `.TH VIRTIOFSD\\-TS 1 "" "virtiofsd\\-ts ${version}" "User Commands"`,
    '.SH NAME',
    'virtiofsd\\-ts \\- serves host directories to virtual machines as virtio\\-fs devices',
    '.SH SYNOPSIS',
    '.B virtiofsd\\-ts',
    '.BI \\-\\-shared\\-dir " DIR"',
    '.BI \\-\\-socket\\-path " SOCKET"',
    '.RI [ OPTIONS ]',
    '.br',
    '.B virtiofsd\\-ts',
    '.I COMMAND',
    '.RI [ ARGUMENTS ]',
    '.SH DESCRIPTION',
    ...paragraphs(description),
    '.SH OPTIONS',
    'A value follows its option, or is joined to it by =. An option may be repeated: the later one wins.',
    'Each flag can be switched off again by',
    '.BI \\-\\-no\\- FLAG\\fR.',
    ...optionGroups.flatMap(({ title, options }) => [`.SS ${escaped(title)}`, ...options.flatMap(optionOf)]),
    '.SH COMMANDS',
    ...commandTable.flatMap(({ name, text }) => term(`\\fB${escaped(name)}\\fR`, sentence(text))),
    '.SH SIGNALS',
    ...signals.flatMap(([names, text]) => term(escaped(names), text)),
    '.SH FILES',
    ...files.flatMap(([name, text]) => term(`\\fI${escaped(name)}\\fR`, sentence(text))),
    '.SH EXIT STATUS',
    ...exitStatus.flatMap(([status, text]) => term(escaped(status), text)),
    '.SH EXAMPLES',
    ...examples.flatMap(([text, line]) => [
      escaped(text),
      '.PP',
      '.RS',
      '.EX',
      escaped(line),
      '.EE',
      '.RE',
      '.PP',
    ]),
  ].join('\n')}\n`
}

function optionOf(spec: OptionSpec): string[] {
  const forms = [spec.name, ...(spec.aliases ?? [])].map((name) => shownForm({ ...spec, name }))
  const notes = notesOf({ ...spec, aliases: [] })
  const text = sentence(spec.text) + (notes.length === 0 ? '' : ` ${sentence(notes.join('; '))}`)
  return term(forms.map(emphasised).join(', '), text)
}

/** Sets the option in bold and its value in italics. */
function emphasised(form: string): string {
  return form
    .split(/<(\w+)>/)
    .map((part, n) => (part === '' ? '' : `\\f${n % 2 === 0 ? 'B' : 'I'}${escaped(part)}\\fR`))
    .join('')
}

function term(label: string, text: string): string[] {
  return ['.TP', label, escaped(text)]
}

function paragraphs(text: string): string[] {
  return text
    .split('\n\n')
    .flatMap((paragraph, n) => [...(n === 0 ? [] : ['.PP']), escaped(paragraph.replaceAll('\n', ' '))])
}

function sentence(text: string): string {
  const whole = /[.?!]$/.test(text) ? text : `${text}.`
  return whole.charAt(0).toUpperCase() + whole.slice(1)
}

/**
 * Escapes text for troff: a leading dot or quote would be a request, and "\-" prints a hyphen that can be
 * copied.
 */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replace(/^[.']/, '\\&$&')
}

import { nearestName } from '../basics/nearest-name.js'
import { UserError } from '../config/user-error.js'

/** Names of capabilities(7) by number, without CAP_. */
const names = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP'],
  ...[
    'LINUX_IMMUTABLE',
    'NET_BIND_SERVICE',
    'NET_BROADCAST',
    'NET_ADMIN',
    'NET_RAW',
    'IPC_LOCK',
    'IPC_OWNER',
  ],
  ...[
    'SYS_MODULE',
    'SYS_RAWIO',
    'SYS_CHROOT',
    'SYS_PTRACE',
    'SYS_PACCT',
    'SYS_ADMIN',
    'SYS_BOOT',
    'SYS_NICE',
  ],
  ...[
    'SYS_RESOURCE',
    'SYS_TIME',
    'SYS_TTY_CONFIG',
    'MKNOD',
    'LEASE',
    'AUDIT_WRITE',
    'AUDIT_CONTROL',
    'SETFCAP',
  ],
  ...['MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ', 'PERFMON', 'BPF'],
  'CHECKPOINT_RESTORE',
]

/**
 * Capabilities for serving: to set owners and modes, to make device nodes, and to use the guest user's access rights.
 */
const needed = ['CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'SETGID', 'SETUID', 'MKNOD', 'SETFCAP']
/** Needed to open inodes by file handle. It opens any file of the share's file system, even outside the share. */
const FOR_HANDLES = 'DAC_READ_SEARCH'

/**
 * Returns the capabilities to keep: the needed ones, with or without file handles, changed by words such as
 * "+SYS_ADMIN:-MKNOD" (case does not matter). Throws UserError for an unknown capability.
 */
export function keptCapabilities(changes: string | undefined, handles: boolean): readonly string[] {
  const kept = new Set(handles ? [...needed, FOR_HANDLES] : needed)
  for (const word of changes === undefined || changes === '' ? [] : changes.split(':')) {
    const name = word.slice(1).toUpperCase().replace(/^CAP_/, '')
    if (!/^[+-]/.test(word))
      throw new UserError(`--modcaps ${changes}: '${word}' begins with neither + nor -`)
    if (!names.includes(name)) {
      throw new UserError(`--modcaps ${changes}: there is no capability '${name}'${nearestName(name, names)}`)
    }
    if (word.startsWith('+')) kept.add(name)
    else kept.delete(name)
  }
  return names.filter((name) => kept.has(name))
}

/** Formats the bit mask of capabilities in hexadecimal digits. */
export function capabilityMask(kept: readonly string[]): string {
  const bits = kept.map((name) => 1n << BigInt(names.indexOf(name)))
  return bits.reduce((mask, bit) => mask | bit, 0n).toString(16)
}

import { migrationErrorUses, migrationModes } from '../../passthrough/state/options.js'
import { flag, type OptionSpec } from '../option-spec.js'

/** Options for a share whose guest is migrated, saved or restored. */
export const migrationOptions = [
  {
    name: 'migration-mode',
    argument: 'mode',
    kind: { type: 'choice', choices: migrationModes },
    scope: 'share',
    text: "how the destination finds the guest's inodes again. find-paths: by their paths; file-handles: by file handles of the host, which also find open files without a name, and need CAP_DAC_READ_SEARCH on both sides",
    default: 'find-paths',
  },
  {
    name: 'migration-verify-handles',
    kind: flag,
    scope: 'share',
    text: 'send paths without file handles, for a storage that is a copy: the destination then checks only the type of each file',
    default: true,
    negated: true,
  },
  {
    name: 'migration-confirm-paths',
    kind: flag,
    scope: 'share',
    text: 'open and compare each path before it is sent, for hosts whose kernel is not told of renames (network file systems)',
  },
  {
    name: 'migration-on-error',
    argument: 'what',
    kind: { type: 'choice', choices: migrationErrorUses },
    scope: 'share',
    text: 'what the destination does about files that it does not find. abort: fail the migration; guest-error: answer the guest ESTALE for them',
    default: 'abort',
  },
] as const satisfies readonly OptionSpec[]

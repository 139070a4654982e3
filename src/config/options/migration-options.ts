import { migrationErrorUses, migrationModes } from '../../passthrough/state/options.js'
import { flag, type OptionSpec } from '../option-spec.js'

/** How a share moves when its guest is migrated, saved or restored. */
export const migrationOptions = [
  {
    name: 'migration-mode',
    argument: 'mode',
    kind: { type: 'choice', choices: migrationModes },
    scope: 'share',
    text: 'how the destination finds the guest’s inodes again: by their paths, or by file handles of the host, which also find open files without a name and need CAP_DAC_READ_SEARCH on both sides',
    default: 'find-paths',
  },
  {
    name: 'migration-verify-handles',
    kind: flag,
    scope: 'share',
    text: 'paths move without file handles, so that another file of the same type may take the place of the guest’s: for a storage that is a copy',
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
    text: 'what the destination does about files that it does not find: fail the migration, or answer the guest ESTALE for them',
    default: 'abort',
  },
] as const satisfies readonly OptionSpec[]

/** The ways to find inodes again at the destination: by their paths, or by the host's file handles. */
export const migrationModes = ['find-paths', 'file-handles'] as const
export type MigrationMode = (typeof migrationModes)[number]

/** The treatment of inodes that are not found: the migration fails, or the guest gets errors for them. */
export const migrationErrorUses = ['abort', 'guest-error'] as const
export type MigrationErrorUse = (typeof migrationErrorUses)[number]

/** The options of migration, which have virtiofsd's meaning. */
export interface MigrationOptions {
  readonly mode: MigrationMode
  /** Paths come with file handles, by which the destination knows the right file. */
  readonly verifyHandles: boolean
  /** Each path is opened and compared before it is sent. */
  readonly confirmPaths: boolean
  readonly onError: MigrationErrorUse
}

/** Whether inodes are referred to by file handles: not at all, where the host has them, or else not served. */
export const fileHandleUses = ['never', 'prefer', 'mandatory'] as const
export type FileHandleUse = (typeof fileHandleUses)[number]

/** Use of file handles for inodes: never, where the host has them, or required. */
export const fileHandleUses = ['never', 'prefer', 'mandatory'] as const
export type FileHandleUse = (typeof fileHandleUses)[number]

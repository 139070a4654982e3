/** An ioctl command that reaches the host. */
export interface IoctlCommand {
  readonly sets: boolean
  /** Bytes that the kernel reads or writes. The command's number says `long`, but the kernel uses an `int` for flags. */
  readonly bytes: number
}

export const FS_IOC_GETFLAGS = 0x8008_6601
export const FS_IOC_SETFLAGS = 0x4008_6602
export const FS_IOC_FSGETXATTR = 0x801c_581f
export const FS_IOC_FSSETXATTR = 0x401c_5820

/** The allowed commands, for lsattr, chattr and project quotas. The system call filter lets the same ones through. */
export const ioctlCommands: ReadonlyMap<number, IoctlCommand> = new Map([
  [FS_IOC_GETFLAGS, { sets: false, bytes: 4 }],
  [FS_IOC_SETFLAGS, { sets: true, bytes: 4 }],
  [FS_IOC_FSGETXATTR, { sets: false, bytes: 28 }],
  [FS_IOC_FSSETXATTR, { sets: true, bytes: 28 }],
])

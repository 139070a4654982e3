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

/** Commands of a kernel whose `long` has 32 bits, which is in their numbers only. The host has the others. */
const numbersOf32Bits: ReadonlyMap<number, number> = new Map([
  [0x8004_6601, FS_IOC_GETFLAGS],
  [0x4004_6602, FS_IOC_SETFLAGS],
])

/** The host's number for a command of the guest. */
export function hostCommand(number: number): number {
  return numbersOf32Bits.get(number) ?? number
}

/** The allowed commands, for lsattr, chattr and project quotas. The system call filter lets the same ones through. */
export const ioctlCommands: ReadonlyMap<number, IoctlCommand> = new Map([
  [FS_IOC_GETFLAGS, { sets: false, bytes: 4 }],
  [FS_IOC_SETFLAGS, { sets: true, bytes: 4 }],
  [FS_IOC_FSGETXATTR, { sets: false, bytes: 28 }],
  [FS_IOC_FSSETXATTR, { sets: true, bytes: 28 }],
])

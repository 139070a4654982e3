import { InitFlag, Opcode } from './abi.js'
import type { FileSystem } from './file-system.js'
import { has } from './negotiation.js'
import * as wire from './wire.js'

const OPCODE_COUNT = 64

/** What stands behind an operation's fixed arguments. */
export enum Trailer {
  None,
  /** One name. */
  Name,
  /** Two names. */
  TwoNames,
  /** A name, then a string that may hold slashes: the target of a symbolic link. */
  NameAndText,
  /** One name, or "." or "..". */
  NameOrDots,
  /** A string of up to 255 bytes that may hold slashes: the name of an extended attribute. */
  Text,
  /** The same, then bytes of any kind. */
  TextAndBytes,
  /** Bytes of any kind, copied with the arguments. */
  Bytes,
  /** Data that stays where it is. */
  Data,
}

/** How a request is taken apart before its operation sees it. */
export interface Rule {
  readonly argBytes: number
  readonly trailer: Trailer
  readonly method: keyof FileSystem
  /** Room without which the operation is not even tried: it could not say what it has granted. */
  readonly writableBytes: number
}

/** `replyBytes`: what a success has behind its header, without data of any length; -1: there is no reply. */
const rule = (
  method: keyof FileSystem,
  argBytes: number,
  replyBytes: number,
  trailer = Trailer.None,
): Rule => ({
  method,
  argBytes,
  trailer,
  writableBytes: replyBytes < 0 ? 0 : wire.OutHeader.BYTES + replyBytes,
})

const ENTRY = wire.EntryOut.BYTES
const ATTR = wire.AttrOut.BYTES
const OPEN = wire.OpenOut.BYTES

const rules: Readonly<Record<number, Rule>> = {
  [Opcode.LOOKUP]: rule('lookup', 0, ENTRY, Trailer.Name),
  [Opcode.FORGET]: rule('forget', wire.ForgetIn.BYTES, -1),
  [Opcode.BATCH_FORGET]: rule('batchForget', wire.BatchForgetIn.BYTES, -1),
  [Opcode.GETATTR]: rule('getattr', wire.GetattrIn.BYTES, ATTR),
  [Opcode.SETATTR]: rule('setattr', wire.SetattrIn.BYTES, ATTR),
  [Opcode.READLINK]: rule('readlink', 0, 0),
  [Opcode.SYMLINK]: rule('symlink', 0, ENTRY, Trailer.NameAndText),
  [Opcode.MKNOD]: rule('mknod', wire.MknodIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.MKDIR]: rule('mkdir', wire.MkdirIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.UNLINK]: rule('unlink', 0, 0, Trailer.Name),
  [Opcode.RMDIR]: rule('rmdir', 0, 0, Trailer.Name),
  [Opcode.RENAME]: rule('rename', wire.RenameIn.BYTES, 0, Trailer.TwoNames),
  [Opcode.RENAME2]: rule('rename2', wire.Rename2In.BYTES, 0, Trailer.TwoNames),
  [Opcode.LINK]: rule('link', wire.LinkIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.OPEN]: rule('open', wire.OpenIn.BYTES, OPEN),
  [Opcode.READ]: rule('read', wire.ReadIn.BYTES, 0),
  [Opcode.WRITE]: rule('write', wire.WriteIn.BYTES, wire.WriteOut.BYTES, Trailer.Data),
  [Opcode.STATFS]: rule('statfs', 0, wire.StatfsOut.BYTES),
  [Opcode.RELEASE]: rule('release', wire.ReleaseIn.BYTES, 0),
  [Opcode.FSYNC]: rule('fsync', wire.FsyncIn.BYTES, 0),
  [Opcode.FLUSH]: rule('flush', wire.FlushIn.BYTES, 0),
  [Opcode.OPENDIR]: rule('opendir', wire.OpenIn.BYTES, OPEN),
  [Opcode.READDIR]: rule('readdir', wire.ReadIn.BYTES, 0),
  [Opcode.READDIRPLUS]: rule('readdirplus', wire.ReadIn.BYTES, 0),
  [Opcode.RELEASEDIR]: rule('releasedir', wire.ReleaseIn.BYTES, 0),
  [Opcode.FSYNCDIR]: rule('fsyncdir', wire.FsyncIn.BYTES, 0),
  [Opcode.ACCESS]: rule('access', wire.AccessIn.BYTES, 0),
  [Opcode.CREATE]: rule('create', wire.CreateIn.BYTES, ENTRY + OPEN, Trailer.Name),
  [Opcode.FALLOCATE]: rule('fallocate', wire.FallocateIn.BYTES, 0),
  [Opcode.LSEEK]: rule('lseek', wire.LseekIn.BYTES, wire.LseekOut.BYTES),
  [Opcode.COPY_FILE_RANGE]: rule('copyFileRange', wire.CopyFileRangeIn.BYTES, wire.WriteOut.BYTES),
  [Opcode.SYNCFS]: rule('syncfs', wire.SyncfsIn.BYTES, 0),
  [Opcode.SETXATTR]: rule('setxattr', wire.SetxattrIn.BYTES, 0, Trailer.TextAndBytes),
  [Opcode.GETXATTR]: rule('getxattr', wire.GetxattrIn.BYTES, 0, Trailer.Text),
  [Opcode.LISTXATTR]: rule('listxattr', wire.GetxattrIn.BYTES, 0),
  [Opcode.REMOVEXATTR]: rule('removexattr', 0, 0, Trailer.Text),
  [Opcode.GETLK]: rule('getlk', wire.LkIn.BYTES, wire.LkOut.BYTES),
  [Opcode.SETLK]: rule('setlk', wire.LkIn.BYTES, 0),
  [Opcode.SETLKW]: rule('setlkw', wire.LkIn.BYTES, 0),
  [Opcode.IOCTL]: rule('ioctl', wire.IoctlIn.BYTES, wire.IoctlOut.BYTES, Trailer.Bytes),
  // Linux sends the name "/", which means nothing.
  [Opcode.TMPFILE]: rule('tmpfile', wire.CreateIn.BYTES, ENTRY + OPEN, Trailer.Text),
  [Opcode.STATX]: rule('statx', wire.StatxIn.BYTES, wire.StatxOut.BYTES),
  [Opcode.COPY_FILE_RANGE_64]: rule(
    'copyFileRange64',
    wire.CopyFileRangeIn.BYTES,
    wire.CopyFileRangeOut.BYTES,
  ),
}

/** The rules by opcode, as INIT's flags have them. */
export function agreedRules(flags: bigint): readonly (Rule | undefined)[] {
  const agreed = Array.from({ length: OPCODE_COUNT }, (_, opcode) => rules[opcode])
  if (has(flags, InitFlag.SETXATTR_EXT))
    agreed[Opcode.SETXATTR] = rule('setxattr', wire.SetxattrIn.EXT_BYTES, 0, Trailer.TextAndBytes)
  if (has(flags, InitFlag.EXPORT_SUPPORT))
    agreed[Opcode.LOOKUP] = rule('lookup', 0, ENTRY, Trailer.NameOrDots)
  return agreed
}

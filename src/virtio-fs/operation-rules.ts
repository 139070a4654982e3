import { InitFlag, Opcode } from './abi.js'
import type { FileSystem } from './file-system.js'
import { has } from './negotiation.js'
import { AccessIn, AttrOut, GetattrIn, SetattrIn } from './wire/attr.js'
import {
  CopyFileRangeIn,
  CopyFileRangeOut,
  FallocateIn,
  LseekIn,
  LseekOut,
  ReadIn,
  WriteIn,
  WriteOut,
} from './wire/data.js'
import { EntryOut } from './wire/entry.js'
import { BatchForgetIn, ForgetIn } from './wire/forget.js'
import { OutHeader } from './wire/header.js'
import { IoctlIn, IoctlOut } from './wire/ioctl.js'
import { LkIn, LkOut } from './wire/lock.js'
import { LinkIn, MkdirIn, MknodIn, Rename2In, RenameIn } from './wire/names.js'
import { CreateIn, FlushIn, FsyncIn, OpenIn, OpenOut, ReleaseIn } from './wire/open.js'
import { StatfsOut, SyncfsIn } from './wire/statfs.js'
import { StatxIn, StatxOut } from './wire/statx.js'
import { GetxattrIn, SetxattrIn } from './wire/xattr.js'

const OPCODE_COUNT = 64

/** The data after an operation's fixed arguments. */
export enum Trailer {
  None,
  /** One name. */
  Name,
  /** Two names. */
  TwoNames,
  /** A name, then a string that may contain slashes: the target of a symbolic link. */
  NameAndText,
  /** One name, or ".". */
  NameOrDot,
  /** One name, or "." or "..". */
  NameOrDots,
  /** A string of up to 255 bytes that may contain slashes: the name of an extended attribute. */
  Text,
  /** Such a string, then arbitrary bytes. */
  TextAndBytes,
  /** Arbitrary bytes, copied with the arguments. */
  Bytes,
  /** Data that is not copied. */
  Data,
}

/** How a request is decoded for its operation. */
export interface Rule {
  readonly argBytes: number
  readonly trailer: Trailer
  readonly method: keyof FileSystem
  /** Required room for the reply. With less room the operation could not report its result, so it does not run. */
  readonly writableBytes: number
}

/** `replyBytes`: length of a success reply after its header, without variable data. -1: there is no reply. */
const rule = (
  method: keyof FileSystem,
  argBytes: number,
  replyBytes: number,
  trailer = Trailer.None,
): Rule => ({
  method,
  argBytes,
  trailer,
  writableBytes: replyBytes < 0 ? 0 : OutHeader.BYTES + replyBytes,
})

const ENTRY = EntryOut.BYTES
const ATTR = AttrOut.BYTES
const OPEN = OpenOut.BYTES

const rules: Readonly<Record<number, Rule>> = {
  [Opcode.LOOKUP]: rule('lookup', 0, ENTRY, Trailer.Name),
  [Opcode.FORGET]: rule('forget', ForgetIn.BYTES, -1),
  [Opcode.BATCH_FORGET]: rule('batchForget', BatchForgetIn.BYTES, -1),
  [Opcode.GETATTR]: rule('getattr', GetattrIn.BYTES, ATTR),
  [Opcode.SETATTR]: rule('setattr', SetattrIn.BYTES, ATTR),
  [Opcode.READLINK]: rule('readlink', 0, 0),
  [Opcode.SYMLINK]: rule('symlink', 0, ENTRY, Trailer.NameAndText),
  [Opcode.MKNOD]: rule('mknod', MknodIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.MKDIR]: rule('mkdir', MkdirIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.UNLINK]: rule('unlink', 0, 0, Trailer.Name),
  [Opcode.RMDIR]: rule('rmdir', 0, 0, Trailer.Name),
  [Opcode.RENAME]: rule('rename', RenameIn.BYTES, 0, Trailer.TwoNames),
  [Opcode.RENAME2]: rule('rename2', Rename2In.BYTES, 0, Trailer.TwoNames),
  [Opcode.LINK]: rule('link', LinkIn.BYTES, ENTRY, Trailer.Name),
  [Opcode.OPEN]: rule('open', OpenIn.BYTES, OPEN),
  [Opcode.READ]: rule('read', ReadIn.BYTES, 0),
  [Opcode.WRITE]: rule('write', WriteIn.BYTES, WriteOut.BYTES, Trailer.Data),
  [Opcode.STATFS]: rule('statfs', 0, StatfsOut.BYTES),
  [Opcode.RELEASE]: rule('release', ReleaseIn.BYTES, 0),
  [Opcode.FSYNC]: rule('fsync', FsyncIn.BYTES, 0),
  [Opcode.FLUSH]: rule('flush', FlushIn.BYTES, 0),
  [Opcode.OPENDIR]: rule('opendir', OpenIn.BYTES, OPEN),
  [Opcode.READDIR]: rule('readdir', ReadIn.BYTES, 0),
  [Opcode.READDIRPLUS]: rule('readdirplus', ReadIn.BYTES, 0),
  [Opcode.RELEASEDIR]: rule('releasedir', ReleaseIn.BYTES, 0),
  [Opcode.FSYNCDIR]: rule('fsyncdir', FsyncIn.BYTES, 0),
  [Opcode.ACCESS]: rule('access', AccessIn.BYTES, 0),
  [Opcode.CREATE]: rule('create', CreateIn.BYTES, ENTRY + OPEN, Trailer.Name),
  [Opcode.FALLOCATE]: rule('fallocate', FallocateIn.BYTES, 0),
  [Opcode.LSEEK]: rule('lseek', LseekIn.BYTES, LseekOut.BYTES),
  [Opcode.COPY_FILE_RANGE]: rule('copyFileRange', CopyFileRangeIn.BYTES, WriteOut.BYTES),
  [Opcode.SYNCFS]: rule('syncfs', SyncfsIn.BYTES, 0),
  [Opcode.SETXATTR]: rule('setxattr', SetxattrIn.BYTES, 0, Trailer.TextAndBytes),
  [Opcode.GETXATTR]: rule('getxattr', GetxattrIn.BYTES, 0, Trailer.Text),
  [Opcode.LISTXATTR]: rule('listxattr', GetxattrIn.BYTES, 0),
  [Opcode.REMOVEXATTR]: rule('removexattr', 0, 0, Trailer.Text),
  [Opcode.GETLK]: rule('getlk', LkIn.BYTES, LkOut.BYTES),
  [Opcode.SETLK]: rule('setlk', LkIn.BYTES, 0),
  [Opcode.SETLKW]: rule('setlkw', LkIn.BYTES, 0),
  [Opcode.IOCTL]: rule('ioctl', IoctlIn.BYTES, IoctlOut.BYTES, Trailer.Bytes),
  // Linux sends the meaningless name "/".
  [Opcode.TMPFILE]: rule('tmpfile', CreateIn.BYTES, ENTRY + OPEN, Trailer.Text),
  [Opcode.STATX]: rule('statx', StatxIn.BYTES, StatxOut.BYTES),
  [Opcode.COPY_FILE_RANGE_64]: rule('copyFileRange64', CopyFileRangeIn.BYTES, CopyFileRangeOut.BYTES),
}

/** The rules by opcode, for these INIT flags. `findsItself`: see FileSystem. */
export function agreedRules(flags: bigint, findsItself: boolean): readonly (Rule | undefined)[] {
  const agreed = Array.from({ length: OPCODE_COUNT }, (_, opcode) => rules[opcode])
  if (has(flags, InitFlag.SETXATTR_EXT))
    agreed[Opcode.SETXATTR] = rule('setxattr', SetxattrIn.EXT_BYTES, 0, Trailer.TextAndBytes)
  if (findsItself) agreed[Opcode.LOOKUP] = rule('lookup', 0, ENTRY, Trailer.NameOrDot)
  if (has(flags, InitFlag.EXPORT_SUPPORT))
    agreed[Opcode.LOOKUP] = rule('lookup', 0, ENTRY, Trailer.NameOrDots)
  return agreed
}

import { Statx } from '../wire/statx.js'
import { writeStatx } from './attributes.js'
import { andThen, type Call, named } from './calls.js'
import { statOf } from './found-nodes.js'
import type { Attributes, Awaitable, FsNode } from './node.js'

const S_IFMT = 0o170000
const S_IFREG = 0o100000
const S_ISUID = 0o4000
const S_ISGID = 0o2000
const S_IXGRP = 0o0010
const PERMISSIONS = 0o7777

const CAPABILITY = 'security.capability'

/** Returns true for the mode of a regular file with a set-user-id or set-group-id bit. */
export function isSetIdFile(mode: number): boolean {
  return (mode & (S_ISUID | S_ISGID)) !== 0 && (mode & S_IFMT) === S_IFREG
}

/**
 * Takes from a file what lets its program run with other rights, before a caller changes the file who may not leave them:
 * its set-user-id bit, its set-group-id bit if its group may execute it, and its capability.
 *
 * A WRITE asks for this with FUSE_WRITE_KILL_SUIDGID. Linux sets this flag on each direct write of a caller without
 * CAP_FSETID, and then changes nothing itself. Before all else (a write to its cache, truncation, fallocate, a new owner) it
 * sends the new mode by SETATTR, and removes the capability, because a tree does not agree to FUSE_HANDLE_KILLPRIV_V2.
 */
export function dropPrivileges(node: FsNode, call: Call): Awaitable<void> {
  return andThen(
    named('stat', () => statOf(node, call)),
    (attributes) =>
      andThen(
        named('setattr', () => dropBits(node, attributes, call)),
        () => dropCapability(node, call),
      ),
  )
}

function dropBits(node: FsNode, attributes: Attributes, call: Call): Awaitable<void> {
  const mode = modeOf(node, attributes)
  const left = mode & ~((mode & S_IXGRP) === 0 ? S_ISUID : S_ISUID | S_ISGID)
  if (left === mode) return
  if (node.setattr === undefined) throw Object.assign(new Error('no setattr'), { code: 'EROFS' })
  return node.setattr({ mode: left & PERMISSIONS }, call)
}

function dropCapability(node: FsNode, call: Call): Awaitable<void> {
  if (node.getxattr === undefined) return
  return andThen(
    named('getxattr', () => node.getxattr?.(CAPABILITY, call)),
    (value) =>
      value === undefined || value === null
        ? undefined
        : named('removexattr', () => node.removexattr?.(CAPABILITY, call)),
  )
}

/** Filled and read within one call. */
const st = new Int32Array(Statx.WORDS)

function modeOf(node: FsNode, attributes: Attributes): number {
  writeStatx(st, attributes, node, 0)
  return Statx.mode(st)
}

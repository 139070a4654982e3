import { EBADF, EILSEQ, EINVAL, ENODATA, EOPNOTSUPP, ERANGE } from '../errno.js'
import { ARGS, type ReplyPlace, type Request } from '../request.js'
import { GetxattrIn, GetxattrOut, SetxattrIn } from '../wire/xattr.js'
import { listed, wrong } from './attributes.js'
import type { FsNode } from './node.js'
import { nodeOf, type TreeParts } from './parts.js'

const XATTR_CREATE = 1
const XATTR_REPLACE = 2

/** Extended attributes of nodes. */
export class TreeXattrs {
  constructor(private readonly on: TreeParts) {}

  getxattr(request: Request): number {
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    const { node } = known
    if (node.getxattr === undefined) return -EOPNOTSUPP
    const name = request.name()
    if (name === undefined) return -EILSEQ
    const roomBytes = GetxattrIn.sizeBytes(request.args, ARGS)
    return this.on.calls.run(
      request,
      'getxattr',
      undefined,
      (call) => (node.getxattr as NonNullable<FsNode['getxattr']>)(name, call),
      (value, to) => {
        if (value === undefined || value === null) return -ENODATA
        if (!(value instanceof Uint8Array)) wrong('the answer', value, 'a Uint8Array')
        return replyBytes(to, value, roomBytes)
      },
    )
  }

  listxattr(request: Request): number {
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    const { node } = known
    if (node.listxattr === undefined) return -EOPNOTSUPP
    const roomBytes = GetxattrIn.sizeBytes(request.args, ARGS)
    return this.on.calls.run(
      request,
      'listxattr',
      undefined,
      (call) => (node.listxattr as NonNullable<FsNode['listxattr']>)(call),
      (names, to) => {
        const list = [...listed(names)]
        for (const name of list)
          if (typeof name !== 'string' || name === '' || name.includes('\0'))
            wrong('a name', name, 'one or more characters without NUL')
        return replyBytes(to, Buffer.from(list.map((name) => `${name}\0`).join('')), roomBytes)
      },
    )
  }

  setxattr(request: Request): number {
    const { args, argBytes, secondNameAt: valueAt } = request
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    const { node } = known
    if (node.setxattr === undefined) return -EOPNOTSUPP
    const name = request.name()
    if (name === undefined) return -EILSEQ
    const sizeBytes = SetxattrIn.sizeBytes(args, ARGS)
    if (sizeBytes > request.extensionsAt - valueAt) return -EINVAL
    const value = argBytes.slice(valueAt, valueAt + sizeBytes)
    const said = SetxattrIn.flags(args, ARGS)
    const flags = { create: (said & XATTR_CREATE) !== 0, replace: (said & XATTR_REPLACE) !== 0 }
    return this.on.calls.run<void>(
      request,
      'setxattr',
      undefined,
      (call) => node.setxattr?.(name, value, flags, call),
      () => 0,
    )
  }

  removexattr(request: Request): number {
    const known = nodeOf(this.on, request)
    if (known === undefined) return -EBADF
    const { node } = known
    if (node.removexattr === undefined) return -EOPNOTSUPP
    const name = request.name()
    if (name === undefined) return -EILSEQ
    return this.on.calls.run<void>(
      request,
      'removexattr',
      undefined,
      (call) => node.removexattr?.(name, call),
      () => 0,
    )
  }
}

/** Replies with the bytes, or with their number if the guest gives no room. */
function replyBytes(to: ReplyPlace, bytes: Uint8Array, roomBytes: number): number {
  if (roomBytes === 0) {
    GetxattrOut.write(to.reply, 0, bytes.length)
    return GetxattrOut.BYTES
  }
  return bytes.length <= roomBytes && to.replyData(bytes) ? to.replyInPlace(bytes.length) : -ERANGE
}

import { FUSE_EXT_GROUPS, FUSE_MAX_NR_SECCTX } from './abi.js'
import { EINVAL } from './errno.js'
import { ARGS, MAX_ARG_BYTES, type Request } from './request.js'
import { ExtHeader, Secctx } from './wire/header.js'

const NONE = -1
const XATTR_NAME_MAX_BYTES = 255

/** The caller's supplementary group that matters for a new file (CREATE_SUPP_GROUP), or -1. */
export function supplementaryGroup(request: Request): number {
  const { args } = request
  for (let at = firstExtension(request); at !== NONE; at = nextExtension(request, at)) {
    if (ExtHeader.type(args, at) !== FUSE_EXT_GROUPS) continue
    const count = ExtHeader.sizeBytes(args, at) >= ExtHeader.BYTES + 8 ? ExtHeader.groupCount(args, at) : 0
    return count === 1 ? ExtHeader.group(args, at, 0) : NONE
  }
  return NONE
}

/** The security context of a new file in `argBytes`: the name of its attribute, NUL-terminated, and its value. */
export interface SecurityContext {
  readonly nameAt: number
  readonly valueAt: number
  readonly valueBytes: number
}

/** Returns the security context of a request (SECURITY_CTX), undefined if there is none, or -EINVAL if it is malformed. */
export function securityContext(request: Request): SecurityContext | number | undefined {
  const { args, argBytes } = request
  for (let at = firstExtension(request); at !== NONE; at = nextExtension(request, at)) {
    const count = ExtHeader.type(args, at)
    if (count === 0 || count > FUSE_MAX_NR_SECCTX) continue
    const end = at + ExtHeader.sizeBytes(args, at)
    const nameAt = at + ExtHeader.BYTES + Secctx.BYTES
    if (count !== 1 || nameAt >= end) return -EINVAL
    const nul = argBytes.indexOf(0, nameAt)
    const valueBytes = Secctx.sizeBytes(args, at + ExtHeader.BYTES)
    if (nul <= nameAt || nul >= end || nul - nameAt > XATTR_NAME_MAX_BYTES || valueBytes > end - nul - 1)
      return -EINVAL
    return { nameAt, valueAt: nul + 1, valueBytes }
  }
  return undefined
}

/** Returns the offset of the first extension, or -1. Checks the offset in the request's header. */
function firstExtension(request: Request): number {
  return request.extensionsAt < ARGS || request.lenBytes > ARGS + MAX_ARG_BYTES
    ? NONE
    : wholeExtension(request, request.extensionsAt)
}

function nextExtension(request: Request, at: number): number {
  return wholeExtension(request, at + ((ExtHeader.sizeBytes(request.args, at) + 7) & ~7))
}

/** Returns `at` if an extension begins there and ends within the request, else -1. */
function wholeExtension({ args, lenBytes }: Request, at: number): number {
  if (at + ExtHeader.BYTES > lenBytes) return NONE
  const sizeBytes = ExtHeader.sizeBytes(args, at)
  return sizeBytes < ExtHeader.BYTES || at + sizeBytes > lenBytes ? NONE : at
}

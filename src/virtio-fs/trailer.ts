import { EINVAL, ENAMETOOLONG, ERANGE } from './errno.js'
import { type Rule, Trailer } from './operation-rules.js'
import { ARGS, type Request } from './request.js'

const NAME_MAX_BYTES = 255
/** XATTR_NAME_MAX. */
const TEXT_MAX_BYTES = 255
const SLASH = 0x2f
const DOT = 0x2e

/**
 * Checks the strings after the fixed arguments and finds where they begin. Only extensions may follow them. With
 * `looseContexts`, unannounced bytes after them are an extension too. Returns 0 or a negative errno.
 */
export function checkTrailer(request: Request, known: Rule, looseContexts: boolean): number {
  const { argBytes, extensionsAt: end } = request
  const { trailer } = known
  request.nameAt = ARGS + known.argBytes
  if (trailer === Trailer.Bytes) return end < request.nameAt ? -EINVAL : 0
  let next =
    trailer === Trailer.Text || trailer === Trailer.TextAndBytes
      ? endOfText(argBytes, request.nameAt, end, TEXT_MAX_BYTES, -ERANGE)
      : endOfName(argBytes, request.nameAt, end, mostDots(trailer))
  if (next < 0) return next
  request.secondNameAt = next
  if (trailer === Trailer.TwoNames) next = endOfName(argBytes, next, end, 0)
  else if (trailer === Trailer.NameAndText) next = endOfText(argBytes, next, end, end, -EINVAL)
  else if (trailer === Trailer.TextAndBytes) next = end
  if (next < 0) return next
  if (looseContexts && end === request.lenBytes) request.extensionsAt = next
  return next === request.extensionsAt ? 0 : -EINVAL
}

function mostDots(trailer: Trailer): number {
  if (trailer === Trailer.NameOrDots) return 2
  return trailer === Trailer.NameOrDot ? 1 : 0
}

/**
 * Checks the path component at `at`: not empty, no slash, not "." or ".." if these are more than `dots`, at most 255 bytes,
 * and a NUL before `end`. Returns the offset after the NUL, or a negative errno.
 */
function endOfName(bytes: Uint8Array, at: number, end: number, dots: number): number {
  let n = at
  for (; n < end; n++) {
    const byte = bytes[n]
    if (byte === 0) break
    if (byte === SLASH) return -EINVAL
  }
  const lenBytes = n - at
  if (n >= end || lenBytes === 0) return -EINVAL
  if (lenBytes > NAME_MAX_BYTES) return -ENAMETOOLONG
  const isDots = bytes[at] === DOT && (lenBytes === 1 || (lenBytes === 2 && bytes[at + 1] === DOT))
  if (isDots && lenBytes > dots) return -EINVAL
  return n + 1
}

/** Returns the offset after a text's NUL, which must lie before `end`, or a negative errno: `tooLong` beyond `maxBytes`. */
function endOfText(bytes: Uint8Array, at: number, end: number, maxBytes: number, tooLong: number): number {
  const nul = bytes.indexOf(0, at)
  if (nul <= at || nul >= end) return -EINVAL
  return nul - at > maxBytes ? tooLong : nul + 1
}

/** Extended attributes. Little endian for every guest (virtio 1). */

/** fuse_setxattr_in: 8 bytes, 16 with SETXATTR_EXT, then the name and the value. */
export const SetxattrIn = Object.freeze({
  BYTES: 8,
  EXT_BYTES: 16,
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
  flags: (v: DataView, at: number) => v.getUint32(at + 4, true),
  /** With SETXATTR_EXT only. */
  setxattrFlags: (v: DataView, at: number) => v.getUint32(at + 8, true),
})

/** fuse_getxattr_in: 8 bytes, then the name. LISTXATTR has no name. */
export const GetxattrIn = Object.freeze({
  BYTES: 8,
  /** Room for the value. 0 asks for its size. */
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
})

/** fuse_getxattr_out, the reply to a size of 0. 8 bytes. */
export const GetxattrOut = Object.freeze({
  BYTES: 8,
  write(v: DataView, at: number, sizeBytes: number) {
    v.setUint32(at, sizeBytes, true)
    v.setUint32(at + 4, 0, true)
  },
  sizeBytes: (v: DataView, at: number) => v.getUint32(at, true),
})

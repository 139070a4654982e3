const SLASH = 0x2f

/** Returns the path of a name, bytes of `names`, in a directory, whose own path is empty for the shared directory. */
export function joined(
  directory: Uint8Array,
  names: Uint8Array,
  nameAt: number,
  nameBytes: number,
): Uint8Array {
  const prefixBytes = directory.length === 0 ? 0 : directory.length + 1
  const path = new Uint8Array(prefixBytes + nameBytes)
  path.set(directory)
  if (prefixBytes > 0) path[directory.length] = SLASH
  for (let n = 0; n < nameBytes; n++) path[prefixBytes + n] = names[nameAt + n]
  return path
}

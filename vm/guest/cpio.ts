const TRAILER = 'TRAILER!!!'
const HEADER_BYTES = 110

/** One entry of an archive. Each parent folder needs its own entry before its contents. */
export interface ArchiveEntry {
  /** Without a leading slash. */
  path: string
  /** Type and permission bits, as in st_mode. */
  mode: number
  /** A file's bytes, or the target of a symbolic link. */
  data?: Uint8Array
}

export const FOLDER = 0o040755
export const PROGRAM = 0o100755
export const FILE = 0o100644
export const LINK = 0o120777

/** A cpio archive in the `newc` format, which the kernel unpacks into its first root folder (initramfs buffer format). */
export function writeArchive(entries: ArchiveEntry[]): Buffer {
  const parts = [...entries, { path: TRAILER, mode: 0 }].flatMap((entry, index) =>
    writeEntry(entry, index + 1),
  )
  return Buffer.concat(parts)
}

function writeEntry({ path, mode, data = new Uint8Array() }: ArchiveEntry, inode: number): Uint8Array[] {
  const name = Buffer.from(`${path}\0`)
  const fields = [
    inode,
    mode,
    0, // uid
    0, // gid
    1, // nlink
    0, // mtime
    data.length,
    0, // major and minor of the device that holds the file
    0,
    0, // major and minor of a device node
    0,
    name.length,
    0, // checksum, unused in newc
  ]
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`)
  return [header, name, padding(HEADER_BYTES + name.length), data, padding(data.length)]
}

/** Names and data both end at a multiple of four bytes. */
function padding(lenBytes: number): Uint8Array {
  return new Uint8Array(-lenBytes & 3)
}

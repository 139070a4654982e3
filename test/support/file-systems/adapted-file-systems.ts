/** File systems that speak node:fs/promises, by name. */
import * as node from 'node:fs/promises'
import { type FileTree, fromPromises } from 'virtio-fs-ts'

export default async (
  { kind, directory }: { kind: string; directory?: string },
  place?: { sharedDir?: string },
): Promise<FileTree> => {
  if (kind === 'node') return fromPromises(node, directory ?? place?.sharedDir)
  if (kind === 'memfs') {
    const { fs } = await import('memfs')
    return fromPromises(fs.promises)
  }
  const { fs } = await import('@zenfs/core')
  return fromPromises(fs.promises)
}

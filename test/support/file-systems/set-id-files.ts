/** Programs with set-user-id that cannot lose it, each in another way; and `calls`, a file with what was called. */
import { type FileTree, type FsNode, file } from 'virtio-fs-ts'

const calls: string[] = []

const program = (name: string, more: Partial<FsNode> = {}): FsNode => ({
  stat: () => ({ mode: 0o104755, size: 10 }),
  write: () => void calls.push(`write ${name}`),
  ...more,
})

const refusing = (code: string): Partial<FsNode> => ({
  setattr: ({ mode }) => {
    calls.push(`setattr ${mode?.toString(8)}`)
    throw Object.assign(new Error('a bug in setattr'), { code })
  },
})

const nodes: Readonly<Record<string, FsNode>> = {
  fixed: program('fixed'),
  forbidden: program('forbidden', refusing('EACCES')),
  broken: program('broken', refusing('no errno')),
  plain: program('plain', { ...refusing('EACCES'), stat: () => ({ mode: 0o100777 }) }),
  unknown: program('unknown', { stat: () => ({ mode: 0o104755, attrTimeoutSec: 7 }) }),
  calls: { ...file(''), read: () => Buffer.from(calls.join(', ')) },
}

export default (): FileTree => ({
  root: { lookup: (name) => nodes[name], readdir: () => Object.keys(nodes) },
})

import { strict as assert } from 'node:assert'
import { pathToFileURL } from 'node:url'
import { type FileTree, FsDevice, TreeFileSystem, uniformPolicy } from 'virtio-fs-ts'
import { cachePolicy, Session } from 'virtio-fs-ts/protocol'
import { example } from '../../support/file-systems/served-module.js'

const WISHES = {
  readdirplus: true,
  allowMmap: true,
  writeback: true,
  cacheSymlinks: true,
  posixAcl: false,
  securityLabel: false,
  killprivV2: false,
  posixLocks: false,
  flock: false,
  exportSupport: false,
  submounts: false,
  requiredFlags: 0n,
}

/** Makes devices of the memory example, whose methods never fail by mistake. */
export async function treeMaker(): Promise<() => FsDevice> {
  const { default: makeMemory } = (await import(pathToFileURL(example('memory')).href)) as {
    default: () => FileTree
  }
  const policy = uniformPolicy(cachePolicy({ cache: 'auto', directIo: 'o-direct', parallelDio: true }))
  return () => {
    const report = (kind: string, fields: object) => assert.fail(`${kind}: ${JSON.stringify(fields)}`)
    const tree = new TreeFileSystem(makeMemory(), { policy, report })
    const session = new Session(tree, WISHES, { agreed: () => {}, fault: () => {} })
    return new FsDevice({ session, tag: undefined })
  }
}

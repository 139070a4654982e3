/** The virtio-fs device: a file system in TypeScript, mounted by a virtual machine. */
export type { CacheMode, DirectIo } from './cache-policy.js'
export type { FileSystem, Operation } from './file-system.js'
export { fsConfig } from './fs-config.js'
export { FsDevice, type FsDeviceParts, type Interposer, QUEUE_COUNT } from './fs-device.js'
export { type MountInfo, rawOf, type ServedFileSystem, serveFileSystem } from './serve.js'
export type { ServeOptions } from './serve-options.js'
export { directory, file, symlink } from './tree/literals.js'
export type {
  AttributeChanges,
  Attributes,
  Awaitable,
  Context,
  DirectoryEntry,
  FileContext,
  FileTree,
  FsNode,
  NodeType,
  Opened,
  OrNothing,
  Room,
} from './tree/node.js'
export { type TreePolicy, uniformPolicy } from './tree/policy.js'
export { fromPromises, type PromisesFs, type PromisesOptions } from './tree/promises-adapter.js'
export { TreeFileSystem, type TreeOptions } from './tree/tree-file-system.js'

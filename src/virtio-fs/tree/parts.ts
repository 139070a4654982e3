import type { HandleTable } from '../handle-table.js'
import type { Request } from '../request.js'
import type { Calls } from './calls.js'
import type { DirectoryEntry, FileTree } from './node.js'
import type { KnownNode, NodeTable } from './node-table.js'
import type { TreePolicy } from './policy.js'
import type { TreeReplies } from './replies.js'

/** A file or directory that the guest has open. */
export interface OpenNode {
  readonly known: KnownNode
  /** What `open` returned for it. */
  readonly handle: unknown
  /** The FOPEN flags that the guest was told. */
  readonly openFlags: number
  /** Of a directory: the listing that is being read. */
  listing: readonly DirectoryEntry[] | undefined
}

/** What the operations on a tree work on. */
export interface TreeParts {
  readonly tree: FileTree
  readonly nodes: NodeTable
  readonly opens: HandleTable<OpenNode>
  readonly calls: Calls
  readonly replies: TreeReplies
  readonly policy: TreePolicy
}

/** The node that a request is about, as the guest says. */
export function nodeOf({ nodes }: TreeParts, { nodeid }: Request): KnownNode | undefined {
  return nodes.get(nodeid)
}

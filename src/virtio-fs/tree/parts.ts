import type { HandleTable } from '../handle-table.js'
import type { Request } from '../request.js'
import type { Calls } from './calls.js'
import type { FoundNodes } from './found-nodes.js'
import type { Listings } from './listings.js'
import type { DirectoryEntry, FileTree } from './node.js'
import type { KnownNode, NodeTable } from './node-table.js'
import type { TreePolicy } from './policy.js'
import type { TreeReplies } from './replies.js'

/** The most files and directories that a guest may have open: tens of megabytes. */
export const MAX_OPENS = 1 << 18

/** A file or directory that the guest has open. */
export interface OpenNode {
  readonly known: KnownNode
  /** The handle that `open` returned. */
  readonly handle: unknown
  /** The FOPEN flags sent to the guest. */
  readonly openFlags: number
  /** For a directory: the listing being read. */
  listing: readonly DirectoryEntry[] | undefined
}

/** The parts that the operations on a tree use. */
export interface TreeParts {
  readonly tree: FileTree
  readonly nodes: NodeTable
  readonly found: FoundNodes
  readonly opens: HandleTable<OpenNode>
  readonly listings: Listings
  readonly calls: Calls
  readonly replies: TreeReplies
  readonly policy: TreePolicy
}

/** The node named by a request. */
export function nodeOf({ nodes }: TreeParts, { nodeid }: Request): KnownNode | undefined {
  return nodes.get(nodeid)
}

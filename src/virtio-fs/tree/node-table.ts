import { FUSE_ROOT_ID } from '../abi.js'
import { HandleTable } from '../handle-table.js'
import { wrong } from './attributes.js'
import type { FsNode } from './node.js'

const DIRECTORY = 0o04

/** A node that the guest knows. */
export class KnownNode {
  /** The guest's node id for it. */
  id = 0
  /** Lookups and listings that gave the guest this node and that it has not forgotten. */
  lookups = 0
  /** S_IFMT bits of its mode, shifted down. 0: not yet known. */
  type = 0
  /** The place where the guest found it last. Undefined for the root, and after that name is removed. */
  parent: KnownNode | undefined
  name = ''

  constructor(readonly node: FsNode) {}
}

/** The nodes that the guest knows, by id and by object. */
export class NodeTable {
  private readonly ids = new HandleTable<KnownNode>()
  private readonly byObject = new Map<unknown, KnownNode>()
  private readonly byName = new Map<string, KnownNode>()

  /** Begins a session, in which the guest knows only the root. */
  begin(root: FsNode): void {
    const known = this.add(root)
    known.lookups = 1
    known.type = DIRECTORY
    if (known.id !== FUSE_ROOT_ID) throw new Error(`the root is node ${known.id} of a session`)
  }

  clear(): void {
    this.ids.clear(() => {})
    this.byObject.clear()
    this.byName.clear()
  }

  get count(): number {
    return this.ids.count
  }

  /** Undefined for an id that the guest invented or has forgotten. */
  get(id: number): KnownNode | undefined {
    return this.ids.get(id)
  }

  /** The entry of a node, if the guest knows the node. */
  known(node: FsNode): KnownNode | undefined {
    return this.byObject.get(node.key ?? node)
  }

  /** Counts a lookup of a name's node. Throws TypeError for an impossible node. */
  enter(node: FsNode, parent: KnownNode, name: string): KnownNode {
    const known = this.known(node) ?? this.add(node)
    if (known.id === FUSE_ROOT_ID) wrong('the node', 'the root', 'a node below it')
    known.lookups++
    this.place(known, parent, name)
    return known
  }

  /** Drops `count` lookups. A count above the current one drops them all. Returns the result of the node's `forget`. */
  unref(id: number, count: number): unknown {
    const known = this.ids.get(id)
    if (known === undefined || id === FUSE_ROOT_ID) return undefined
    known.lookups -= count
    if (known.lookups > 0) return undefined
    this.ids.remove(id)
    this.byObject.delete(known.node.key ?? known.node)
    this.unplace(known)
    return known.node.forget?.()
  }

  /** A name was removed. */
  removed(parent: KnownNode, name: string): void {
    const known = this.byName.get(placeOf(parent, name))
    if (known !== undefined) this.unplace(known)
  }

  moved(parent: KnownNode, name: string, newParent: KnownNode, newName: string, exchange: boolean): void {
    const one = this.byName.get(placeOf(parent, name))
    const other = this.byName.get(placeOf(newParent, newName))
    if (one !== undefined) this.unplace(one)
    if (other !== undefined) this.unplace(other)
    if (one !== undefined) this.place(one, newParent, newName)
    if (other !== undefined && exchange) this.place(other, parent, name)
  }

  /** The path below the root, without a leading slash. Undefined for a node without a name. */
  pathOf(id: number): string | undefined {
    const names: string[] = []
    let known = this.ids.get(id)
    for (; known !== undefined && known.id !== FUSE_ROOT_ID; known = known.parent) {
      // A faulty file system may have moved a directory below itself. Such a directory has no path.
      if (known.parent === undefined || names.length > this.count) return undefined
      names.push(known.name)
    }
    return known === undefined ? undefined : names.reverse().join('/')
  }

  private add(node: FsNode): KnownNode {
    const known = new KnownNode(node)
    known.id = this.ids.add(known)
    this.byObject.set(node.key ?? node, known)
    return known
  }

  private place(known: KnownNode, parent: KnownNode, name: string): void {
    if (known.parent === parent && known.name === name) return
    this.unplace(known)
    known.parent = parent
    known.name = name
    this.byName.set(placeOf(parent, name), known)
  }

  private unplace(known: KnownNode): void {
    const { parent, name } = known
    if (parent === undefined) return
    const place = placeOf(parent, name)
    if (this.byName.get(place) === known) this.byName.delete(place)
    known.parent = undefined
  }
}

function placeOf(parent: KnownNode, name: string): string {
  return `${parent.id}/${name}`
}

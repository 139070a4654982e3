import { FUSE_ROOT_ID } from '../abi.js'
import { HandleTable } from '../handle-table.js'
import { wrong } from './attributes.js'
import { InodeNumbers } from './inode-numbers.js'
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

  constructor(
    readonly node: FsNode,
    /** Its inode number, unless its attributes have one. */
    readonly ino: number,
  ) {}
}

/**
 * The nodes that the guest knows, by id and by object. The `forget` of a node is called once the guest does not know it and
 * no request that found it waits.
 */
export class NodeTable {
  /** Requests that found a node and are not answered, by object. They may outlive a session. */
  private readonly holds = new Map<unknown, number>()
  private readonly ids = new HandleTable<KnownNode>()
  readonly numbers = new InodeNumbers()
  private readonly byObject = new Map<unknown, KnownNode>()
  private readonly byName = new Map<string, KnownNode>()

  /** `limit`: the most nodes that the guest may know. */
  constructor(readonly limit = Number.POSITIVE_INFINITY) {}

  /** Begins a session, in which the guest knows only the root. */
  begin(root: FsNode): void {
    const known = this.add(root)
    known.lookups = 1
    known.type = DIRECTORY
    if (known.id !== FUSE_ROOT_ID) throw new Error(`the root is node ${known.id} of a session`)
  }

  /** Ends a session. `forget` is called with each node whose file system is to be told. */
  clear(forget: (node: FsNode) => void): void {
    const known: FsNode[] = []
    this.ids.clear(({ node, id }) => {
      if (id !== FUSE_ROOT_ID && node.forget !== undefined && !this.holds.has(keyOf(node))) known.push(node)
    })
    this.byObject.clear()
    this.byName.clear()
    for (const node of known) forget(node)
  }

  get count(): number {
    return this.ids.count
  }

  /** True if the guest may learn of no further node. */
  get isFull(): boolean {
    return this.ids.count >= this.limit
  }

  /** Undefined for an id that the guest invented or has forgotten. */
  get(id: number): KnownNode | undefined {
    return this.ids.get(id)
  }

  /** The entry of a node, if the guest knows the node. */
  known(node: FsNode): KnownNode | undefined {
    return this.byObject.get(keyOf(node))
  }

  /** Counts a lookup of a name's node; "." is `parent` itself. Throws TypeError for an impossible node. */
  enter(node: FsNode, parent: KnownNode, name: string): KnownNode {
    if (name === '.') {
      parent.lookups++
      return parent
    }
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
    this.byObject.delete(keyOf(known.node))
    this.unplace(known)
    return this.holds.has(keyOf(known.node)) ? undefined : known.node.forget?.()
  }

  /** Keeps a node from being forgotten until `letGo`. */
  hold(node: FsNode): void {
    const key = keyOf(node)
    this.holds.set(key, (this.holds.get(key) ?? 0) + 1)
  }

  /** Ends a hold. */
  letGo(node: FsNode): void {
    const key = keyOf(node)
    const left = (this.holds.get(key) ?? 1) - 1
    if (left > 0) this.holds.set(key, left)
    else this.holds.delete(key)
  }

  /** True if neither the guest nor a waiting request needs the node. */
  isUnneeded(node: FsNode): boolean {
    const key = keyOf(node)
    return !this.byObject.has(key) && !this.holds.has(key)
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
    const known = new KnownNode(node, this.numbers.of(node))
    known.id = this.ids.add(known)
    this.byObject.set(keyOf(node), known)
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

function keyOf(node: FsNode): unknown {
  return node.key ?? node
}

function placeOf(parent: KnownNode, name: string): string {
  return `${parent.id}/${name}`
}

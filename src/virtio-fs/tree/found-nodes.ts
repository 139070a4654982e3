import { type Call, type Calls, isPromise, named } from './calls.js'
import { MethodError } from './method-error.js'
import type { Attributes, Awaitable, FsNode } from './node.js'
import type { NodeTable } from './node-table.js'

/** A node that a method returned for a request, and its attributes. */
export interface Found {
  readonly node: FsNode
  readonly attributes: Attributes
  /** True if the node is kept from being forgotten until the request is answered. */
  readonly isHeld: boolean
}

const NOTHING: Attributes = Object.freeze({})

/** The attributes of a node. */
export function statOf(node: FsNode, call: Call): Awaitable<Attributes> {
  return node.stat === undefined ? NOTHING : node.stat(call)
}

/** Nodes on their way from a method to the guest. A node that does not arrive is forgotten. */
export class FoundNodes {
  constructor(
    private readonly nodes: NodeTable,
    private readonly calls: Calls,
  ) {}

  /** Gets the attributes of a node that `method` has just returned. Throws TypeError if the value is not a node. */
  find(method: string, returned: unknown, call: Call): Awaitable<Found> {
    if (typeof returned !== 'object' || returned === null)
      throw new MethodError(method, new TypeError(`returned ${String(returned)}, not a node`))
    const node: FsNode = returned
    if (this.nodes.isFull && this.nodes.known(node) === undefined) this.refuse(node)
    let attributes: Awaitable<Attributes>
    try {
      attributes = named('stat', () => statOf(node, call))
    } catch (error) {
      this.forget(node)
      throw error
    }
    if (!isPromise(attributes)) return { node, attributes, isHeld: false }
    this.nodes.hold(node)
    return attributes.then(
      (said) => ({ node, attributes: said, isHeld: true }),
      (error) => {
        this.nodes.letGo(node)
        this.forget(node)
        throw error
      },
    )
  }

  /** The node is in the guest's reply. */
  arrived({ node, isHeld }: Found): void {
    if (isHeld) this.nodes.letGo(node)
  }

  /** The guest is not told of the node. */
  drop({ node, isHeld }: Found): void {
    if (isHeld) this.nodes.letGo(node)
    this.forget(node)
  }

  private refuse(node: FsNode): never {
    const { limit } = this.nodes
    this.calls.report('out of nodes: the guest gets ENFILE', { limit })
    this.forget(node)
    throw Object.assign(new Error(`the guest knows ${limit} nodes`), { code: 'ENFILE' })
  }

  private forget(node: FsNode): void {
    if (this.nodes.isUnneeded(node)) this.calls.notify('forget', () => node.forget?.())
  }
}

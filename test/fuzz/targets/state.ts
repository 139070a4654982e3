import { strict as assert } from 'node:assert'
import { getHeapStatistics } from 'node:v8'
import { StateError } from 'vhost-user-ts'
import type { FsDevice } from 'virtio-fs-ts'
import type { MigrationOptions } from '../../../src/passthrough/state/options.js'
import type { Block } from '../../../src/state/blocks.js'
import { countOpenFds } from '../../support/device/descriptors.js'
import { Op } from '../../support/fuse/fuse-abi.js'
import { concat, cstring, u32, u64 } from '../../support/fuse/fuse-wire.js'
import { ByteSource } from '../byte-source.js'
import type { MadeRequest, SeenReply } from '../fuse-fuzzer.js'
import { recordsOf } from '../input.js'
import { RingGuest } from '../ring-guest.js'
import { ScratchShare } from '../scratch-share.js'
import { blocksOf, changeBlocks, streamOf } from '../state-mutations.js'
import type { Target } from '../target.js'
import { configOf, makePassthrough } from './requests.js'

const MOST_CHANGES = 8
const MOST_PIECE_BYTES = 4096
/** The longest message about a refused state: a kind, a path of PATH_MAX bytes, some words. */
const MOST_REASON_BYTES = 5000
/** What a share may hold because of a state, with --inode-limit 1000. */
const MOST_BYTES = 256 * 1024 * 1024
const INPUTS_PER_CHECK = 64
const ENTRY_BYTES = 128
const ATTR_INO_AT = 16
const F_WRLCK = 1
const O_RDWR = 2

/** The ways to load a state. Only a state of file handles may name files outside of the share. */
const USUAL: MigrationOptions = {
  mode: 'find-paths',
  verifyHandles: true,
  confirmPaths: false,
  onError: 'guest-error',
}
const USES: readonly MigrationOptions[] = [
  USUAL,
  { ...USUAL, onError: 'abort' },
  { ...USUAL, verifyHandles: false },
  { ...USUAL, mode: 'file-handles' },
]
const LIMITS = ['--inode-limit', '1000']

/** What the guest knows whose state is changed. */
interface Known {
  readonly nodeids: bigint[]
  readonly handles: { readonly nodeid: bigint; readonly handle: bigint; readonly isDirectory: boolean }[]
}

/** A state to change. */
interface Original {
  readonly use: MigrationOptions
  readonly blocks: readonly Block[]
  readonly known: Known
}

/** States that were changed, loaded by the program's own file system; a guest then goes on with what it knew. */
export class StateTarget implements Target {
  readonly name = 'state'
  private readonly bytes = new ByteSource()
  private readonly share: ScratchShare
  private readonly guest: RingGuest
  private readonly device: FsDevice
  /** The device reads its options with each state. */
  private readonly use: MigrationOptions
  private readonly originals: readonly Original[]
  private readonly beforeMount: readonly Block[]
  private readonly heldFds: number
  private readonly outside: readonly bigint[]
  private last: SeenReply | undefined
  private nextUnique = 2n
  private inputs = 0

  /** `directory` is empty, and becomes the scratch directory. */
  constructor(directory: string) {
    this.share = new ScratchShare(directory)
    this.share.fill()
    this.outside = this.share.inodesOutside()
    this.guest = new RingGuest(this.bytes, (reply) => {
      this.last = reply
    })
    const config = configOf(this.share.root, LIMITS)
    this.use = config.migration
    this.device = makePassthrough(this.share.root, config)
    this.originals = USES.map((use) => {
      Object.assign(this.use, use)
      const known = this.work()
      const blocks = blocksOf(stateOf(this.device))
      this.device.reset()
      return { use, blocks, known }
    })
    this.beforeMount = blocksOf(stateOf(this.device))
    this.heldFds = countOpenFds()
  }

  run(input: Uint8Array): number {
    const { bytes } = this
    const [first = new Uint8Array(0), ...changes] = recordsOf(input)
    bytes.begin(first)
    const { use, blocks, known } = bytes.pick(this.originals)
    Object.assign(this.use, use)
    let changed = bytes.oneIn(16) ? this.beforeMount : blocks
    for (const change of changes.slice(0, MOST_CHANGES)) changed = changeBlocks(changed, bytes.begin(change))
    bytes.begin(first.subarray(first.length / 2))
    const isLoaded = this.load(streamOf(changed, bytes))
    const { external_memory: external, used_heap_size: heap } = getHeapStatistics()
    assert.ok(external + heap < MOST_BYTES, `a state makes the share hold ${external + heap} bytes`)
    bytes.begin(new Uint8Array(0))
    if (isLoaded) this.goOn(use, known)
    this.device.reset()
    if (++this.inputs % INPUTS_PER_CHECK === 0) {
      assert.equal(countOpenFds(), this.heldFds, 'descriptors that are left')
      this.share.check()
    }
    return 1
  }

  close(): void {
    this.guest.close()
  }

  /** Returns false if the device refuses the state. */
  private load(state: Uint8Array): boolean {
    const { device } = this
    assert.ok(device.loadState !== undefined)
    const loader = device.loadState()
    try {
      for (let at = 0; at < state.length; ) {
        const lenBytes = 1 + this.bytes.below(MOST_PIECE_BYTES)
        loader.write(state.subarray(at, at + lenBytes))
        at += lenBytes
      }
      loader.end()
      return true
    } catch (error) {
      assert.ok(error instanceof StateError, error as Error)
      assert.ok(error.message.length < MOST_REASON_BYTES, `a reason of ${error.message.length} characters`)
      loader.abort()
      return false
    }
  }

  /** Asks for everything that the guest knows; what is loaded can be saved again. */
  private goOn({ mode }: MigrationOptions, { nodeids, handles }: Known): void {
    for (const nodeid of nodeids) {
      const reply = this.ask(Op.GETATTR, nodeid, new Uint8Array(16))
      if (reply.error === 0 && mode === 'find-paths')
        assert.ok(
          !this.outside.includes(reply.body.getBigUint64(ATTR_INO_AT, true)),
          'a file outside the share',
        )
      this.ask(Op.LOOKUP, nodeid, cstring('file'))
    }
    for (const { nodeid, handle, isDirectory } of handles) {
      const opcode = isDirectory ? Op.READDIR : Op.READ
      this.ask(opcode, nodeid, concat(u64(handle), u64(0), u32(1000, 0), u64(0), u32(0, 0)))
    }
    const again = stateOf(this.device)
    this.device.reset()
    assert.ok(this.load(again), 'what was loaded and saved again is refused')
  }

  /** A guest that knows some inodes, has some of them open, and holds locks. */
  private work(): Known {
    const known: Known = { nodeids: [1n], handles: [] }
    this.ask(Op.INIT, 0n, concat(u32(7, 45, 131_072, 0xffff_ffff, 0xffff_ffff), new Uint8Array(44)))
    const lookUp = (parent: bigint, name: string) => {
      const nodeid = this.ask(Op.LOOKUP, parent, cstring(name)).body.getBigUint64(0, true)
      known.nodeids.push(nodeid)
      return nodeid
    }
    const open = (nodeid: bigint, isDirectory: boolean) => {
      const args = u32(isDirectory ? 0 : O_RDWR, 0)
      const { body } = this.ask(isDirectory ? Op.OPENDIR : Op.OPEN, nodeid, args)
      const handle = body.getBigUint64(0, true)
      known.handles.push({ nodeid, handle, isDirectory })
      return handle
    }
    const file = lookUp(1n, 'file')
    const directory = lookUp(1n, 'dir')
    for (const name of ['huge', 'link', 'out', 'fifo']) lookUp(1n, name)
    const deep = lookUp(directory, 'deep')
    const handle = open(file, false)
    const other = open(deep, false)
    open(directory, true)
    open(1n, true)
    const lock = (owner: number, isFlock: boolean) =>
      concat(u64(owner), u64(0), u64(100), u32(F_WRLCK, 1), u32(isFlock ? 1 : 0, 0))
    this.ask(Op.SETLK, file, concat(u64(handle), lock(77, false)))
    this.ask(Op.SETLK, deep, concat(u64(other), lock(78, true)))
    // The guest's forgotten inodes, whose slots are free again.
    const { body } = this.ask(Op.MKNOD, 1n, concat(u32(0o100644, 0, 0, 0), cstring('short')))
    const short = body.getBigUint64(0, true)
    const opened = this.ask(Op.OPEN, short, u32(O_RDWR, 0)).body.getBigUint64(0, true)
    this.ask(Op.RELEASE, short, concat(u64(opened), u32(0, 0), u64(0)))
    this.ask(Op.UNLINK, 1n, cstring('short'))
    this.ask(Op.FORGET, short, u64(1))
    return known
  }

  private ask(opcode: number, nodeid: bigint, args: Uint8Array): SeenReply {
    const unique = this.nextUnique
    this.nextUnique += 2n
    const header = concat(u32(40 + args.length, opcode), u64(unique), u64(nodeid), u32(0, 0, 1, 0))
    const request: MadeRequest = { opcode, unique, whole: concat(header, args) }
    this.last = { opcode, error: 0, body: new DataView(new ArrayBuffer(ENTRY_BYTES)) }
    this.guest.submit(request)
    this.guest.serve(this.device)
    return this.last
  }
}

function stateOf(device: FsDevice): Uint8Array {
  assert.ok(device.saveState !== undefined)
  return Buffer.concat([...device.saveState()])
}

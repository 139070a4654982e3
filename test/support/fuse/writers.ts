import { Op } from './fuse-abi.js'
import type { Call } from './fuse-client.js'
import type { FuseGuest } from './fuse-guest.js'
import { concat, type Id, u32, u64 } from './fuse-wire.js'

/** An open file that a guest writes to. */
export interface OpenedFile {
  readonly nodeid: Id
  readonly handle: Id
}

/** Puts a WRITE on the ring, like a synchronous writer of the guest; `finishAll` waits for it. */
export function startWrite(
  fs: FuseGuest,
  { nodeid, handle }: OpenedFile,
  offset: number,
  lenBytes = 512,
  { flags = 0, writeFlags = 0 }: { flags?: number; writeFlags?: number } = {},
): Call {
  const args = concat(u64(handle, offset), u32(lenBytes, writeFlags), u64(0), u32(flags, 0))
  const data = new Uint8Array(lenBytes).fill(7)
  return fs.start({ opcode: Op.WRITE, nodeid, args, data, reply: { argBytes: 8 } })
}

/** Waits for every reply. Returns the calls in order of completion. */
export function finishAll(fs: FuseGuest, calls: readonly Call[]): Call[] {
  const order: Call[] = []
  while (calls.some(({ reply }) => reply === undefined)) order.push(fs.finish())
  return order
}

import type { TimedRequest } from '../../../src/inspect/trace-reader.js'
import type { Guest } from '../../guest/guest.js'
import type { Share } from '../../guest/qemu.js'
import type { OptionSet, ShareName } from '../option-sets.js'

/** Our device, other virtio-fs devices, and a server of ours that runs in the guest, on /dev/fuse. */
export const SERVER_NAMES = [
  'virtiofsd-ts',
  'virtiofsd',
  'virtiofsd-1.14',
  'virtiofsd-1.13',
  'virtiofsd-c',
  'dev-fuse',
] as const
export type ServerName = (typeof SERVER_NAMES)[number]

/** A share's session. */
export interface ShareState {
  /** "7.MINOR". */
  guest: string
  /** Names of the INIT flags agreed on. */
  flags: string[]
}

/** The server lacks what a case asks for. Our device has it. */
export class NeedsOwnDevice extends Error {
  override readonly name = 'NeedsOwnDevice'
}

/** How an open is answered. */
export type OpenMode =
  | 'cached'
  | 'direct'
  | 'parallel'
  | 'passthrough'
  | 'passthrough+direct'
  | 'passthrough+keep'
  | 'passthrough to another file'

/** The server of a lab guest's shares: a share for each set of options. */
export interface LabServer {
  readonly sets: readonly OptionSet[]
  /** The shares for QEMU. */
  readonly shares: Share[]
  /** The command lines of its processes. */
  readonly commandLines: readonly (readonly string[])[]
  /** True if the requests pass a virtio-fs device. */
  readonly isVirtio: boolean
  /** The host directory of a share. */
  directoryOf(share: ShareName): string
  /** Mounts a share at /NAME, and returns the state of its session. */
  mount(guest: Guest, set: OptionSet): Promise<ShareState>
  /** Sends a command to a share, as `virtiofsd-ts ctl` does. Rejects with NeedsOwnDevice. */
  ask<T>(share: ShareName, command: string, argument?: unknown): Promise<T>
  /** Prepares the next open of a share, and returns the guest's flags for it. Undefined: the server has no such mode. */
  openFlags(share: ShareName, mode: OpenMode): Promise<number | undefined>
  /** Begins a new trace of a share. */
  startTrace(share: ShareName): Promise<void>
  /** Ends the trace, and returns its requests in the order of their replies. Undefined: the server traces nothing. */
  endTrace(share: ShareName): Promise<TimedRequest[] | undefined>
  stop(): Promise<void>
}

import type { ServerName } from '../servers/lab-server.js'
import type { SourceName } from '../tree/kernel-source.js'

/** A small, realistic fault in fs/fuse. */
export interface Mutant {
  /** The value of the kernel parameter that enables it. Never reuse a value. */
  readonly id: number
  readonly what: string
  /** The kernel that has the code. Default 6.12. */
  readonly linux?: SourceName
  /** Path below fs/fuse. */
  readonly file: string
  /** Code that occurs once in the file, and its replacement. FAULT stands for "this fault is on". */
  readonly before: string
  readonly after: string
  /** A second place to change. */
  readonly also?: { readonly before: string; readonly after: string }
  readonly elsewhere?: { readonly file: string; readonly before: string; readonly after: string }
  /** Cells that must find the fault: "case@share". */
  readonly caughtBy: readonly string[]
  /** The server of the shares, if not our device. */
  readonly server?: ServerName
  /** The fault acts when a share is mounted, so the guest boots with it. */
  readonly atMount?: true
}

export function kernelOf({ linux = '6.12' }: Mutant): SourceName {
  return linux
}

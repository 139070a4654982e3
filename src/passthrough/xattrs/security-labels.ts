import { has, type InitAgreement, InitFlag, type Request, securityContext } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { InodeTable } from '../inodes/inode-table.js'
import type { XattrNames } from './xattr-names.js'

/** Security contexts sent with requests that create a file (SECURITY_CTX). */
export class SecurityLabels {
  /** True if requests that create a file may carry a context. */
  areTaken = false

  constructor(
    private readonly inodes: InodeTable,
    private readonly names: XattrNames,
  ) {}

  begin({ flags }: InitAgreement): void {
    this.areTaken = has(flags, InitFlag.SECURITY_CTX)
  }

  /** Gives a new inode the security context of its request. Returns 0 or a negative errno. */
  labelNew(request: Request, slot: number): number {
    if (!this.areTaken) return 0
    const context = securityContext(request)
    if (context === undefined || typeof context === 'number') return context ?? 0
    const { nameAt, valueAt, valueBytes } = context
    const name = this.names.host(request.argBytes, nameAt)
    if (typeof name === 'number') return name
    const fd = this.inodes.fdOf(slot)
    return fd < 0
      ? fd
      : native.inodeSetxattr(fd, name.bytes, name.at, request.argBytes, valueAt, valueBytes, 0)
  }
}

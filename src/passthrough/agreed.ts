import { has, type InitAgreement, InitFlag } from 'virtio-fs-ts/protocol'
import type { OpenRules } from '../io-mode/open-rules.js'

/** What operations have to know of the outcome of INIT. */
export class Agreed {
  /** Set-user-id and set-group-id bits are taken away here. */
  killsPrivileges = false
  keepsRecordLocks = false
  announcesSubmounts = false
  /** An open of a file that has not changed leaves the pages that the guest has of it. */
  keepsUnchanged = false
  /** Files that were opened with FOPEN_DIRECT_IO can be mapped MAP_SHARED. */
  mapsDirect = false

  constructor(private readonly rules: OpenRules) {}

  begin({ flags }: InitAgreement): void {
    this.keepsRecordLocks = has(flags, InitFlag.POSIX_LOCKS)
    this.killsPrivileges = has(flags, InitFlag.HANDLE_KILLPRIV_V2)
    this.mapsDirect = has(flags, InitFlag.DIRECT_IO_ALLOW_MMAP)
    this.announcesSubmounts = has(flags, InitFlag.SUBMOUNTS)
    // The guest has to drop pages itself when it hears of another mtime or size, and to believe what it hears.
    this.keepsUnchanged =
      this.rules.everKeepsUnchanged &&
      has(flags, InitFlag.AUTO_INVAL_DATA) &&
      !has(flags, InitFlag.WRITEBACK_CACHE)
  }
}

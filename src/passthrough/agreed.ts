import { has, type InitAgreement, InitFlag, keepsNames } from 'virtio-fs-ts/protocol'
import type { OpenRules } from '../io-mode/open-rules.js'

/** The results of INIT that operations need. */
export class Agreed {
  /** The device clears set-user-id and set-group-id bits. */
  killsPrivileges = false
  /** The guest takes set-id bits and capabilities away itself, as Linux does if the device does not. */
  guestKillsPrivileges = false
  keepsRecordLocks = false
  announcesSubmounts = false
  /** Opening an unchanged file keeps the guest's cached pages of it. */
  keepsUnchanged = false
  /** Files opened with FOPEN_DIRECT_IO can be mapped MAP_SHARED. */
  mapsDirect = false

  /** The guest caches that a name does not exist. */
  keepsAbsence = false

  constructor(private readonly rules: OpenRules) {}

  begin(agreement: InitAgreement): void {
    const { flags } = agreement
    this.keepsAbsence = keepsNames(agreement)
    this.keepsRecordLocks = has(flags, InitFlag.POSIX_LOCKS)
    this.killsPrivileges = has(flags, InitFlag.HANDLE_KILLPRIV_V2)
    this.guestKillsPrivileges = !this.killsPrivileges && keepsNames(agreement)
    this.mapsDirect = has(flags, InitFlag.DIRECT_IO_ALLOW_MMAP)
    this.announcesSubmounts = has(flags, InitFlag.SUBMOUNTS)
    // The guest must drop pages itself when it sees a new mtime or size, and must believe the values it gets.
    this.keepsUnchanged =
      this.rules.everKeepsUnchanged &&
      has(flags, InitFlag.AUTO_INVAL_DATA) &&
      !has(flags, InitFlag.WRITEBACK_CACHE)
  }
}

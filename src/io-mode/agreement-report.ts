import { has, type InitAgreement, InitFlag } from 'virtio-fs-ts/protocol'

/** Names the kernels that speak a minor version of FUSE, for log readers. */
function kernelsOf(minor: number): string {
  if (minor >= 40) return 'Linux 6.9 or later'
  if (minor === 39) return 'Linux 6.6-6.8'
  if (minor === 38) return 'Linux 6.2-6.5, or an updated 6.1'
  return 'before Linux 6.2'
}

/** The effect of an INIT agreement on the two options that users come for. */
export interface IoModeReport {
  readonly guest: string
  readonly allowMmap: string
  readonly parallelDio: string
}

/**
 * Explains what INIT means for shared mmap and for parallel direct writes on this guest's kernel. The rules
 * come from fs/fuse: see docs/io-modes.md.
 */
export function reportIoModes(
  agreement: InitAgreement,
  asked: { allowMmap: boolean; parallelDio: boolean; directIo: boolean },
): IoModeReport {
  const { guestMinor } = agreement
  const guestHasAllowMmap = has(agreement.guestFlags, InitFlag.DIRECT_IO_ALLOW_MMAP)
  const mmapAgreed = has(agreement.flags, InitFlag.DIRECT_IO_ALLOW_MMAP)
  return {
    guest: `7.${guestMinor} (${kernelsOf(guestMinor)})`,
    allowMmap: allowMmapOutcome(asked.allowMmap, guestHasAllowMmap),
    parallelDio: parallelDioOutcome(asked, mmapAgreed, guestMinor),
  }
}

function allowMmapOutcome(asked: boolean, guestHas: boolean): string {
  if (!asked) return 'off: MAP_SHARED of a direct-io file fails with ENODEV'
  if (!guestHas)
    return 'asked for, but this guest does not know it: MAP_SHARED of a direct-io file fails with ENODEV'
  return 'on: MAP_SHARED of a direct-io file works'
}

function parallelDioOutcome(
  asked: { parallelDio: boolean; directIo: boolean },
  mmapAgreed: boolean,
  guestMinor: number,
): string {
  if (!asked.parallelDio) return 'off: writes to one file are serialised in the guest'
  if (!asked.directIo) return 'asked for, but this cache policy never replies FOPEN_DIRECT_IO: no effect'
  if (mmapAgreed && guestMinor === 39) {
    return 'asked for, but on 7.39 (Linux 6.6-6.8) allow-mmap switches it off for the whole mount'
  }
  if (guestMinor < 38) {
    return 'asked for; this guest is older than Linux 6.2 and knows it only if its distribution added it'
  }
  if (mmapAgreed) return 'on: non-extending writes to one file overlap, except while it is mapped shared'
  return 'on: non-extending writes to one file overlap'
}

import { FUSE_KERNEL_MINOR_VERSION, FUSE_KERNEL_VERSION, type InitAgreement } from 'virtio-fs-ts/protocol'
import { damaged } from '../state/blocks.js'

/** The numbers of INIT's reply that a state carries. */
const REPLY_NUMBERS = [
  'major',
  'minor',
  'maxReadaheadBytes',
  'maxBackground',
  'congestionThreshold',
  'maxWriteBytes',
  'timeGranNs',
  'maxPages',
] as const

/** The result of INIT as JSON has it: flags are hexadecimal. */
export function agreementText({ guestMinor, guestFlags, flags, reply }: InitAgreement): object {
  return {
    guestMinor,
    guestFlags: guestFlags.toString(16),
    flags: flags.toString(16),
    reply: Object.fromEntries(REPLY_NUMBERS.map((name) => [name, reply[name]])),
  }
}

/** Reads what `agreementText` made. Throws StateError. */
export function agreementOf(value: unknown): InitAgreement {
  const agreement = membersOf<'guestMinor' | 'guestFlags' | 'flags' | 'reply'>(value)
  const reply = membersOf<(typeof REPLY_NUMBERS)[number]>(agreement.reply)
  const flags = wordOf(agreement.flags)
  const major = countOf(reply.major)
  const minor = countOf(reply.minor)
  if (major !== FUSE_KERNEL_VERSION || minor > FUSE_KERNEL_MINOR_VERSION)
    throw damaged('its FUSE version is unknown')
  return {
    guestMinor: countOf(agreement.guestMinor),
    guestFlags: wordOf(agreement.guestFlags),
    flags,
    reply: {
      major,
      minor,
      flags,
      maxReadaheadBytes: countOf(reply.maxReadaheadBytes),
      maxBackground: countOf(reply.maxBackground),
      congestionThreshold: countOf(reply.congestionThreshold),
      maxWriteBytes: countOf(reply.maxWriteBytes),
      timeGranNs: countOf(reply.timeGranNs),
      maxPages: countOf(reply.maxPages),
    },
  }
}

type Members<Name extends string> = Readonly<Partial<Record<Name, unknown>>>

function membersOf<Name extends string>(value: unknown): Members<Name> {
  // An object that is not null has members of any kind, or none.
  if (typeof value === 'object' && value !== null) return value as Members<Name>
  throw damaged('the agreement is no object')
}

function countOf(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff) return value
  throw damaged('a number of the agreement is impossible')
}

function wordOf(value: unknown): bigint {
  if (typeof value === 'string' && /^[0-9a-f]{1,16}$/.test(value)) return BigInt(`0x${value}`)
  throw damaged('flags of the agreement are impossible')
}

import { EOPNOTSUPP, EPERM } from 'virtio-fs-ts/protocol'
import { guestXattrName, hostXattrName, type XattrRule } from './xattr-map.js'

const POSIX_ACLS: ReadonlySet<string> = new Set(['system.posix_acl_access', 'system.posix_acl_default'])

/** A name for the host, NUL-terminated, at byte `at`. */
export interface HostName {
  readonly bytes: Uint8Array
  readonly at: number
}

/** Translates names of extended attributes between guest and host. Names are bytes, one per character of a string. */
export class XattrNames {
  private readonly rules: readonly XattrRule[] | undefined
  /** The guest may see and set POSIX ACLs, because its kernel enforces them. */
  aclsPass = false

  /** Without rules, names are the same on both sides. */
  constructor(rules: readonly XattrRule[] | undefined) {
    this.rules = rules?.map((rule) => ({
      ...rule,
      key: bytesAsText(rule.key),
      prepend: bytesAsText(rule.prepend),
    }))
  }

  /** Returns the host's name for the guest's name at byte `at`, -EPERM or -EOPNOTSUPP. */
  host(bytes: Uint8Array, at: number): HostName | number {
    const name = textAt(bytes, at)
    if (!this.aclsPass && POSIX_ACLS.has(name)) return -EOPNOTSUPP
    if (this.rules === undefined) return { bytes, at }
    const outcome = hostXattrName(this.rules, name)
    if (outcome.pass) return { bytes: textAsBytes(outcome.name), at: 0 }
    return outcome.type === 'unsupported' ? -EOPNOTSUPP : -EPERM
  }

  /** Translates the host's list of names (`lenBytes` long) for the guest. Hidden names are left out. */
  guestList(list: Uint8Array, lenBytes: number): Uint8Array {
    const names = Buffer.from(list.subarray(0, lenBytes)).toString('latin1').split('\0').slice(0, -1)
    const shown = names.map((name) => this.guest(name)).filter((name) => name !== undefined)
    return Buffer.from(shown.map((name) => `${name}\0`).join(''), 'latin1')
  }

  /** The other name that a guest attribute is stored under, NUL-terminated. Undefined if the name is the same or refused. */
  otherNameOf(name: string): Uint8Array | undefined {
    const outcome = this.rules === undefined ? undefined : hostXattrName(this.rules, name)
    return outcome?.pass === true && outcome.name !== name ? textAsBytes(outcome.name) : undefined
  }

  private guest(name: string): string | undefined {
    const shown = this.rules === undefined ? name : guestXattrName(this.rules, name)
    return shown === undefined || shown === '' || (!this.aclsPass && POSIX_ACLS.has(shown))
      ? undefined
      : shown
  }
}

function textAt(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, bytes.indexOf(0, at) - at).toString('latin1')
}

function textAsBytes(text: string): Uint8Array {
  return Buffer.from(`${text}\0`, 'latin1')
}

function bytesAsText(text: string): string {
  return Buffer.from(text).toString('latin1')
}

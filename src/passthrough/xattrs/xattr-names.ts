import { EOPNOTSUPP, EPERM } from 'virtio-fs-ts/protocol'
import { guestXattrName, hostXattrName, type XattrRule } from './xattr-map.js'

const POSIX_ACLS: ReadonlySet<string> = new Set(['system.posix_acl_access', 'system.posix_acl_default'])

/** A name as the host takes it: NUL-terminated from byte `at`. */
export interface HostName {
  readonly bytes: Uint8Array
  readonly at: number
}

/** Names of extended attributes, between guest and host. Names are bytes: one character of a string is one of them. */
export class XattrNames {
  private readonly rules: readonly XattrRule[] | undefined
  /** The guest may see and set POSIX ACLs, because its kernel checks them. */
  aclsPass = false

  /** Without rules names are the same on both sides. */
  constructor(rules: readonly XattrRule[] | undefined) {
    this.rules = rules?.map((rule) => ({
      ...rule,
      key: bytesAsText(rule.key),
      prepend: bytesAsText(rule.prepend),
    }))
  }

  /** The host's name for the guest's name at byte `at`, or -EPERM, -EOPNOTSUPP. */
  host(bytes: Uint8Array, at: number): HostName | number {
    const name = textAt(bytes, at)
    if (!this.aclsPass && POSIX_ACLS.has(name)) return -EOPNOTSUPP
    if (this.rules === undefined) return { bytes, at }
    const outcome = hostXattrName(this.rules, name)
    if (outcome.pass) return { bytes: textAsBytes(outcome.name), at: 0 }
    return outcome.type === 'unsupported' ? -EOPNOTSUPP : -EPERM
  }

  /** The guest's names for the `lenBytes` of names that the host has listed; those that are hidden are left out. */
  guestList(list: Uint8Array, lenBytes: number): Uint8Array {
    const names = Buffer.from(list.subarray(0, lenBytes)).toString('latin1').split('\0').slice(0, -1)
    const shown = names.map((name) => this.guest(name)).filter((name) => name !== undefined)
    return Buffer.from(shown.map((name) => `${name}\0`).join(''), 'latin1')
  }

  /** Under which other name an attribute of the guest is kept, NUL-terminated; undefined: under its own, or not at all. */
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

import { optionsByName } from '../config/option-table.js'

/**
 * The text of `--print-capabilities`: features as named in docs/interop/vhost-user.json of QEMU's source.
 * libvirt reads it to decide how to start this program, and if its guests may migrate.
 */
export function capabilitiesReport(): string {
  const modes = ['posix-acl', 'security-label'].filter(
    (name) => optionsByName.get(name)?.kind.type === 'choice',
  )
  const features = [...modes.map((name) => `${name}-negotiation-mode`), 'migrate-precopy', 'separate-options']
  return `${JSON.stringify({ type: 'fs', features }, undefined, 2)}\n`
}

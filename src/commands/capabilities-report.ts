import { optionsByName } from '../config/option-table.js'

/**
 * What `--print-capabilities` prints: the features of docs/interop/vhost-user.json in QEMU's source, by which libvirt
 * decides how it starts this program. migrate-precopy is not among them.
 */
export function capabilitiesReport(): string {
  const modes = ['posix-acl', 'security-label'].filter(
    (name) => optionsByName.get(name)?.kind.type === 'choice',
  )
  const features = [...modes.map((name) => `${name}-negotiation-mode`), 'separate-options']
  return `${JSON.stringify({ type: 'fs', features }, undefined, 2)}\n`
}

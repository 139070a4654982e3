import { NEWEST_PEER } from '../../device/device-process.js'
import type { OptionSet } from '../option-sets.js'
import { DevFuseServer } from './dev-fuse-server.js'
import type { LabServer, ServerName } from './lab-server.js'
import { OwnDevice } from './own-device.js'
import { PeerDevices } from './peer-devices.js'

/** Starts a server with the shares that it can serve. */
export function startServer(name: ServerName, sets: readonly OptionSet[]): Promise<LabServer> {
  const served = sets.filter((set) => servesSet(name, set))
  if (name === 'virtiofsd-ts') return OwnDevice.start(served)
  if (name === 'dev-fuse') return DevFuseServer.start(served)
  return PeerDevices.start(name === 'virtiofsd' ? NEWEST_PEER : name, served)
}

/** Options that other devices have, too. */
const COMMON = new Set(['cache', 'allow-mmap', 'writeback'])
/** The older device in C has no other ones. */
const OLD = new Set(['cache', 'writeback'])

export function servesSet(name: ServerName, { options, rules = [] }: OptionSet): boolean {
  const names = Object.keys(options)
  if (name === 'dev-fuse') return !names.includes('negative-timeout')
  if (names.includes('passthrough')) return false
  if (name === 'virtiofsd-ts') return true
  if (rules.length > 0 || (name === 'virtiofsd-c' && options.cache === 'metadata')) return false
  return names.every((option) => (name === 'virtiofsd-c' ? OLD : COMMON).has(option))
}

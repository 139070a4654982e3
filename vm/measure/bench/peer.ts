import { DEVICE_NAMES, type DeviceName, findProgram, NEWEST_PEER } from '../../device/device-process.js'
import { findInPath, isExecutable } from '../../host/find-in-path.js'
import { SetupError } from '../../host/setup-error.js'
import type { Policy } from './plan.js'

/** The values of --peer, besides a path. */
export const PEER_NAMES = [
  'none',
  'virtiofsd',
  ...DEVICE_NAMES.filter((name) => name !== 'virtiofsd-ts'),
] as const

const INSTALLED = ['/usr/libexec/virtiofsd', '/usr/lib/virtiofsd']

/** The device to compare with. */
export interface Peer {
  device: DeviceName
  /** Set if the program is not the one that `device` names. */
  program?: string
}

/**
 * Finds the peer that --peer names. Returns undefined, after printing why, if it is not available: ours then runs
 * alone.
 */
export async function findPeer(name: string): Promise<Peer | undefined> {
  if (name === 'none') return undefined
  if (name === 'virtiofsd') {
    const program = findInPath('virtiofsd') ?? INSTALLED.find((path) => isExecutable(path))
    return program === undefined ? fetchPeer(NEWEST_PEER) : { device: NEWEST_PEER, program }
  }
  const device = DEVICE_NAMES.find((known) => known === name)
  if (device !== undefined) return fetchPeer(device)
  if (isExecutable(name)) return { device: NEWEST_PEER, program: name }
  throw new SetupError(`no peer ${name}: it is neither a program nor one of ${PEER_NAMES.join(', ')}`)
}

/** Describes the peer: a path, or a name with the package's version. */
export function describePeer({ device, program }: Peer): string {
  return program ?? device
}

async function fetchPeer(device: DeviceName): Promise<Peer | undefined> {
  try {
    await findProgram(device)
    return { device }
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    process.stderr.write(`no peer, ours runs alone: ${error.message}\n`)
    return undefined
  }
}

/** Returns a policy's options in the peer's spelling. Undefined if it has no such policy. */
export function peerArguments({ device }: Peer, { peer: args }: Policy): string[] | undefined {
  if (device !== 'virtiofsd-c') return [...args]
  const words: string[] = []
  for (let n = 0; n < args.length; n++) {
    if (args[n] === '--cache') words.push(`cache=${args[++n] === 'never' ? 'none' : args[n]}`)
    else if (args[n] === '--writeback') words.push('writeback')
    else if (args[n] === '--allow-direct-io') words.push('allow_direct_io')
    // The peer cannot map direct-io files, and no workload needs it.
    else if (args[n] !== '--allow-mmap') return undefined
  }
  return ['-o', words.join(',')]
}

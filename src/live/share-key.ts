import { resolve } from 'node:path'
import type { ShareConfig } from '../share/share-config.js'

/** A share is known by its socket. */
export function keyOf({ socketPath, inheritedFd }: ShareConfig): string {
  return inheritedFd === undefined ? resolve(socketPath) : `descriptor ${inheritedFd}`
}

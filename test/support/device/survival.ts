import type { Test } from 'tap'
import { ROOT_ID } from '../fuse/fuse-abi.js'
import { mount } from '../fuse/mount.js'
import type { Device } from './device.js'

/**
 * Checks the device after an attack: it lives, holds the same descriptors as before, and serves a guest. `heldBefore`
 * is its descriptor count before the attacker connected; nobody may be connected now.
 */
export async function assertSurvival(t: Test, device: Device, heldBefore: number): Promise<void> {
  await device.waitForFdCount(heldBefore)
  const fs = mount(t, device)
  t.equal(fs.getattr(ROOT_ID).attr.ino > 0n, true, 'a guest is served')
  fs.close()
  await device.waitForFdCount(heldBefore)
  t.ok(device.alive, 'the device lives, and holds what it held')
}

/** Checks that one warning of this kind has been logged. */
export async function assertLogged(t: Test, device: Device, kind: string): Promise<void> {
  t.ok(await device.waitForLog(({ msg }) => msg === kind), `logged: ${kind}`)
}

import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { DeviceProcess } from '../../../vm/device/device-process.js'
import { bootGuest, type Guest, type GuestOptions } from '../../../vm/guest/guest.js'
import { loudMessages } from '../../../vm/guest/kernel-log.js'
import type { Share } from '../../../vm/guest/qemu.js'

/** A kernel, and a QEMU in which it runs. */
export interface Pair {
  readonly kernel: string
  readonly qemu: string
}

/** The pairs of Debian 13, and of kernel and QEMU as they are released. */
export const newerPairs: readonly Pair[] = [
  { kernel: '6.12', qemu: '10' },
  { kernel: '7', qemu: '11' },
]

/** Pairs that use every kernel, and every QEMU in common use, at least once. */
export const pairs: readonly Pair[] = [{ kernel: '6.1', qemu: '7.2' }, ...newerPairs]

/** A directory that our device serves. */
export interface SharedDirectory {
  readonly tag: string
  readonly path: string
  readonly device: DeviceProcess
}

/**
 * Starts our device on a temporary directory. Both are removed at the end of the test, and the device must have
 * survived until then.
 */
export async function serve(t: Test, tag: string, args: readonly string[] = []): Promise<SharedDirectory> {
  const path = mkdtempSync(join(tmpdir(), 'guest-share-'))
  const device = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: path, args: [...args] })
  t.teardown(async () => {
    const { status } = await device.stop()
    if (status !== 0) t.fail(`the device of ${tag} ended with ${status}:\n${device.log.join('\n')}`)
    rmSync(path, { recursive: true, force: true })
  })
  return { tag, path, device }
}

/** Serves a directory by another device, to which a guest can move. It is stopped at the end of the test. */
export async function serveAgain(t: Test, path: string, args: readonly string[]): Promise<DeviceProcess> {
  const device = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: path, args: [...args] })
  t.teardown(() => device.stop())
  return device
}

/** A guest may have further shares, which it mounts itself. */
export interface BootOptions extends GuestOptions {
  more?: readonly Share[]
}

/** Boots a guest and mounts each share at /TAG. It is killed when the test ends. */
export async function bootWith(
  t: Test,
  shares: readonly SharedDirectory[],
  { more = [], ...options }: BootOptions = {},
): Promise<Guest> {
  const sockets = shares.map(({ tag, device }) => ({ tag, socketPath: device.socketPath }))
  const guest = await bootGuest({ ...options, shares: [...sockets, ...more] })
  t.teardown(() => guest.kill())
  t.comment(`Linux ${guest.kernelRelease} on ${guest.accelerator}, up in ${guest.bootMs.toFixed(0)} ms`)
  for (const { tag } of shares) await guest.mount(tag, `/${tag}`)
  return guest
}

/** Checks that the guest's kernel has not warned about shares, nor printed any stack trace. */
export async function expectQuietKernel(t: Test, guest: Guest): Promise<void> {
  t.same(loudMessages(await guest.kernelLog()), [], "no warning in the guest's kernel log")
}

/** SHA-256 of a file of the host, as hexadecimal digits. */
export function hashOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}

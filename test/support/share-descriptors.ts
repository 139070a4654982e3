import type { Device } from './device/device.js'
import { until } from './device/live-device.js'

/** Counts the descriptors that a device has in its shared directory. */
export function shareDescriptors(device: Device): number {
  return device.openFiles().filter((path) => path.startsWith(device.directory)).length
}

/** Waits until a device has so many descriptors in its shared directory. Throws if it never has. */
export function comesTo(device: Device, count: number): Promise<void> {
  return until(
    () => shareDescriptors(device) === count,
    () => `${shareDescriptors(device)} descriptors in the shared directory instead of ${count}`,
  )
}

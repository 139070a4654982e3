import { accessSync, closeSync, constants, openSync, readFileSync } from 'node:fs'

export type Accelerator = 'kvm' | 'tcg'

/**
 * Returns KVM if the processor can virtualise and /dev/kvm opens. The device node alone proves nothing: containers
 * often have it.
 */
export function findAccelerator(cpuinfo = '/proc/cpuinfo', device = '/dev/kvm'): Accelerator {
  const canVirtualise = /^flags\s*:.*\b(vmx|svm)\b/m.test(readFileSync(cpuinfo, 'utf8'))
  return canVirtualise && opens(device) ? 'kvm' : 'tcg'
}

function opens(device: string): boolean {
  try {
    accessSync(device, constants.R_OK | constants.W_OK)
    closeSync(openSync(device, 'r+'))
    return true
  } catch {
    return false
  }
}

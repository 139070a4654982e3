import { isRoot } from './cases.js'
import type { DeviceOptions } from './device.js'

const ORDINARY_ID = 1234

/** The users that run a device, by name: root and an ordinary user, or the user that runs the tests. */
export const users: Readonly<Record<string, DeviceOptions>> = isRoot
  ? {
      root: {},
      'an ordinary user': {
        launcher: ['setpriv', `--reuid=${ORDINARY_ID}`, `--regid=${ORDINARY_ID}`, '--clear-groups'],
        owner: ORDINARY_ID,
      },
    }
  : { 'an ordinary user': {} }

/** The common cache policies, by name. */
export const policies: Readonly<Record<string, readonly string[]>> = {
  never: ['--cache', 'never', '--allow-mmap'],
  auto: ['--cache', 'auto'],
  always: ['--cache', 'always'],
  'write-back': ['--cache', 'always', '--writeback'],
}

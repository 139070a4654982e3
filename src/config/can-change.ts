import type { Configuration } from './configuration.js'

/** Returns true if the running process can be changed: by clients of its control socket, or by its configuration file. */
export function canChange({
  controlSocket,
  configFile,
}: Pick<Configuration, 'controlSocket' | 'configFile'>): boolean {
  return controlSocket !== undefined || configFile !== undefined
}

import * as inspector from 'node:inspector'
import * as native from 'virtiofsd-ts-native'

/** The signals that end this program; with a configuration file, SIGHUP reads that again instead. */
const ENDING = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const
export type EndingSignal = (typeof ENDING)[number]

/**
 * From now on, calls `obey` for each of these signals. Also disables SIGUSR1, by which Node starts its
 * debugger.
 */
export function obeySignals(obey: (signal: EndingSignal) => void): void {
  for (const signal of ENDING) process.on(signal, () => obey(signal))
  process.on('SIGUSR1', () => {})
  // The keeper of this process obeys it, if there is one: see native/launcher/keeper.c.
  process.on('SIGUSR2', () => {})
}

/**
 * Keeps signals for the program that this process is about to become: they are neither lost nor end this process. Use
 * it when a start leaves files behind that only the coming broker removes.
 */
export function putOffSignals(): void {
  native.putOffSignals()
}

/** Ends the debugger that a SIGUSR1 has started before `obeySignals`, unless Node's options ask for a debugger. */
export function closeDebugger(): void {
  if (inspector.url() === undefined || isDebugged()) return
  inspector.close()
}

function isDebugged(): boolean {
  const options = [...process.execArgv, ...(process.env['NODE_OPTIONS'] ?? '').split(' ')]
  return options.some((option) => option.startsWith('--inspect'))
}

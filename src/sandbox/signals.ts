import * as inspector from 'node:inspector'
import * as native from 'virtiofsd-ts-native'

/** What ends this program. */
const ENDING = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const
export type EndingSignal = (typeof ENDING)[number]

/**
 * Calls `end` for each signal that ends the program, from now on. SIGUSR1, by which Node starts its debugger, does nothing
 * from now on.
 */
export function obeySignals(end: (signal: EndingSignal) => void): void {
  for (const signal of ENDING) process.on(signal, () => end(signal))
  process.on('SIGUSR1', () => {})
}

/**
 * Keeps signals for the program that this process is about to become: they neither end this one nor get lost. For a start
 * that leaves files behind until a supervisor is there.
 */
export function putOffSignals(): void {
  native.putOffSignals()
}

/** Ends the debugger that a SIGUSR1 has started before `obeySignals`, unless Node's options ask for one. */
export function closeDebugger(): void {
  if (inspector.url() === undefined || isDebugged()) return
  inspector.close()
}

function isDebugged(): boolean {
  const options = [...process.execArgv, ...(process.env['NODE_OPTIONS'] ?? '').split(' ')]
  return options.some((option) => option.startsWith('--inspect'))
}

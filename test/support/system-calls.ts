import * as native from 'virtiofsd-ts-native'

/** The number of a system call; undefined where this architecture, or the headers that we were built with, have none. */
export function numberOf(name: string): number | undefined {
  const number = native.systemCallNumber(name)
  return number < 0 ? undefined : number
}

/** The numbers by name, to be taken apart: `const { openat } = systemCalls`. */
export const systemCalls = new Proxy<Readonly<Record<string, number>>>(
  {},
  { get: (_, name) => numberOf(String(name)) },
)

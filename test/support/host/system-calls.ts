import * as native from 'virtiofsd-ts-native'

/** Returns the number of a system call; undefined if this architecture, or the headers of the build, lack it. */
export function numberOf(name: string): number | undefined {
  const number = native.systemCallNumber(name)
  return number < 0 ? undefined : number
}

/** The numbers by name, for destructuring: `const { openat } = systemCalls`. */
export const systemCalls = new Proxy<Readonly<Record<string, number>>>(
  {},
  { get: (_, name) => numberOf(String(name)) },
)

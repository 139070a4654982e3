/** Returns the descriptor that the launcher or the broker has named in a variable; -1 there stands for none. */
export function inheritedFd(variable: string): number | undefined {
  const fd = Number(process.env[variable] ?? -1)
  return fd < 0 ? undefined : fd
}

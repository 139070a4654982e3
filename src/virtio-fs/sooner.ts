/** The earlier of two times in milliseconds. -1 means never. */
export function sooner(aMs: number, bMs: number): number {
  return aMs < 0 || bMs < 0 ? Math.max(aMs, bMs) : Math.min(aMs, bMs)
}

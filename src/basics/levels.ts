/**
 * Returns true if objects and arrays lie within each other in more levels than these. JSON of a stranger may have thousands of
 * levels, in which a function that walks them, JSON.stringify included, ends with an error.
 */
export function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(levels - 1, inner))
}

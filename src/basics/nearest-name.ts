/** No name of ours is longer. Comparing a longer text would take long. */
const LONGEST_NAME = 64

/**
 * Suggests the name nearest to a mistyped one, or the only one with it among its words, for a message:
 * " (did you mean ...?)", or "".
 */
export function nearestName(name: string, known: Iterable<string>): string {
  if (name.length > LONGEST_NAME) return ''
  const names = [...known]
  const longer = names.filter((candidate) => candidate.split('-').includes(name))
  const nearest = rankedByDistance(name, names)[0] ?? (longer.length === 1 ? longer[0] : undefined)
  return nearest === undefined ? '' : ` (did you mean ${nearest}?)`
}

/** Returns those that are near enough, the nearest one first. */
function rankedByDistance(name: string, known: readonly string[]): string[] {
  return known
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .filter(({ candidate, distance }) => distance < Math.min(name.length, candidate.length))
    .filter(({ candidate, distance }) => distance <= Math.max(2, candidate.length / 3))
    .sort((a, b) => a.distance - b.distance)
    .map(({ candidate }) => candidate)
}

/** Counts the insertions, deletions and substitutions that turn one name into the other. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, n) => n)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substituted = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substituted, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}

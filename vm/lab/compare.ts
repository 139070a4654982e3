import type { Cell, KernelResult } from './result.js'

/** Two cells of one case that differ. */
export interface Difference {
  readonly case: string
  readonly share: string
  /** Both observations. "-" stands for a cell that is missing or does not apply. */
  readonly observed: readonly [string, string]
  /** Both request streams, aligned. Empty if they are alike. */
  readonly stream: readonly StreamLine[]
}

export interface StreamLine {
  readonly side: 'both' | 'left' | 'right'
  readonly text: string
}

/** The two shares to compare. Undefined: compare each share with the one of the same name. */
export interface SharePair {
  readonly left: string
  readonly right: string
}

/** Returns the cells that differ in their observations or requests. */
export function compareKernels(
  left: KernelResult,
  right: KernelResult,
  shares?: SharePair | undefined,
): { differences: Difference[]; compared: number } {
  const pairs = pairsOf(left, right, shares)
  const differences = pairs.flatMap(({ name, share, cells: [a, b] }): Difference[] => {
    const observed = [a?.observed ?? '-', b?.observed ?? '-'] as const
    const stream = a?.stream === undefined || b?.stream === undefined ? [] : alignStreams(a.stream, b.stream)
    const isAlike = stream.every(({ side }) => side === 'both')
    if (observed[0] === observed[1] && isAlike) return []
    return [{ case: name, share, observed, stream: isAlike ? [] : stream }]
  })
  return { differences, compared: pairs.length }
}

interface Pair {
  readonly name: string
  readonly share: string
  readonly cells: readonly [Cell | undefined, Cell | undefined]
}

function pairsOf(left: KernelResult, right: KernelResult, shares: SharePair | undefined): Pair[] {
  const find = ({ cells }: KernelResult, name: string, share: string): Cell | undefined =>
    cells.find((cell) => cell.case === name && cell.share === share)
  if (shares !== undefined) {
    const names = new Set([...left.cells, ...right.cells].map((cell) => cell.case))
    return [...names]
      .map(
        (name): Pair => ({
          name,
          share: `${shares.left}, ${shares.right}`,
          cells: [find(left, name, shares.left), find(right, name, shares.right)],
        }),
      )
      .filter(({ cells }) => cells[0] !== undefined && cells[1] !== undefined)
  }
  const keys = new Map([...left.cells, ...right.cells].map((cell) => [`${cell.case} ${cell.share}`, cell]))
  return [...keys.values()].map(({ case: name, share }) => ({
    name,
    share,
    cells: [find(left, name, share), find(right, name, share)],
  }))
}

/** Aligns two streams at their longest common subsequence. Each other line is on one side only. */
export function alignStreams(left: readonly string[], right: readonly string[]): StreamLine[] {
  // lengths[a][b]: length of the longest common subsequence of left from a on and right from b on.
  const lengths = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1))
  for (let a = left.length - 1; a >= 0; a--)
    for (let b = right.length - 1; b >= 0; b--)
      lengths[a]![b] =
        left[a] === right[b]
          ? lengths[a + 1]![b + 1]! + 1
          : Math.max(lengths[a + 1]![b]!, lengths[a]![b + 1]!)
  const lines: StreamLine[] = []
  let [a, b] = [0, 0]
  while (a < left.length || b < right.length) {
    if (a < left.length && left[a] === right[b]) {
      lines.push({ side: 'both', text: left[a]! })
      a++
      b++
    } else if (b >= right.length || (a < left.length && lengths[a + 1]![b]! >= lengths[a]![b + 1]!)) {
      lines.push({ side: 'left', text: left[a++]! })
    } else {
      lines.push({ side: 'right', text: right[b++]! })
    }
  }
  return lines
}

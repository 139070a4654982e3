/** Modes of one inode's opens that meet (fs/fuse/iomode.c): which may coexist, and what those that may not get. */
import { type GuestFacts, hasIoModes, writesInParallel } from './kernel-rules.js'
import type { Cell, Transition } from './result.js'

/**
 * The first open of the inode. Writing: in parallel mode, with a write in flight. Mapped: direct, and mapped shared.
 */
export const HOLDERS = [
  'cached',
  'direct',
  'parallel',
  'writing',
  'mapped',
  'passthrough',
  'passthrough+direct',
] as const
export type Holder = (typeof HOLDERS)[number]

/** The second open. */
export const NEWCOMERS = [
  'cached',
  'direct',
  'parallel',
  'mapped',
  'passthrough',
  'passthrough+direct',
] as const
export type Newcomer = (typeof NEWCOMERS)[number]

export type Outcome = 'allowed' | 'waits' | 'EIO' | 'ENODEV'

export function isPassthrough(mode: string): boolean {
  return mode.startsWith('passthrough')
}

/** The outcome by the rules of fs/fuse. */
export function transitionOf(facts: GuestFacts, from: Holder, to: Newcomer): Outcome {
  if (to === 'mapped' && !facts.allowMmap) return 'ENODEV'
  if (!hasIoModes(facts)) return 'allowed'
  const caches = to === 'cached' || to === 'mapped'
  if (isPassthrough(from)) {
    if (isPassthrough(to)) return 'allowed'
    // The mapped file was opened before, in direct mode, which no mode refuses.
    return to === 'mapped' ? 'ENODEV' : 'EIO'
  }
  if (from === 'writing' && caches && writesInParallel(facts)) return 'waits'
  return isPassthrough(to) && (from === 'cached' || from === 'mapped') ? 'EIO' : 'allowed'
}

const SEPARATOR = ', '
const CASE = 'transition/'

export function caseNameOf(from: Holder): string {
  return `${CASE}${from}`
}

/** "cached: allowed, direct: allowed": the form of an observation. */
export function transitionsText(outcomes: readonly (readonly [Newcomer, string])[]): string {
  return outcomes.map(([to, outcome]) => `${to}: ${outcome}`).join(SEPARATOR)
}

/** Reads the transitions out of cells. */
export function transitionsIn(cells: readonly Cell[]): Transition[] {
  return cells.flatMap((cell) => {
    if (!cell.case.startsWith(CASE) || cell.observed === undefined) return []
    const expected = outcomesIn(cell.expected ?? '')
    return [...outcomesIn(cell.observed)].map(([to, observed]) => ({
      ...{ share: cell.share, from: cell.case.slice(CASE.length), to, expected: expected.get(to), observed },
    }))
  })
}

function outcomesIn(text: string): Map<string, string> {
  return new Map(
    text
      .split(SEPARATOR)
      .map((part) => part.split(': '))
      .filter((part): part is [string, string] => part.length === 2),
  )
}

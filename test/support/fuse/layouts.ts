import type { Buffer, Frontend } from 'vhost-user-ts/frontend'

const PAGE_BYTES = 4096

/** A way to lay out the bytes of a request or a reply in guest memory. */
export interface Layout {
  readonly name: string
  /**
   * Returns segments for a Linux guest's pieces (header, arguments, data), at most `maxSegments` of them. `side` 0 is
   * the request, 1 the reply.
   */
  place(frontend: Frontend, pieceBytes: readonly number[], maxSegments: number, side: 0 | 1): Buffer[]
}

/** Linux's layout: header, arguments, then one descriptor for each page of data. No two pages adjoin. */
export const linux: Layout = {
  name: 'as Linux cuts',
  place(frontend, [headerBytes, argBytes, dataBytes], maxSegments) {
    const pages = cutEvery(PAGE_BYTES, dataBytes, maxSegments - 2)
    return [
      ...[headerBytes, argBytes].filter((n) => n > 0).map((n) => take(frontend, n, 8, 0)),
      ...pages.map((n) => take(frontend, n, PAGE_BYTES, PAGE_BYTES)),
    ]
  },
}

/** One segment for everything, at a given address mod 8. */
export function whole(misalignment: number): Layout {
  return {
    name: misalignment === 0 ? 'in one piece' : `in one piece, ${misalignment} off`,
    place: (frontend, pieceBytes) => [take(frontend, sum(pieceBytes), 8, 0, misalignment)],
  }
}

/** Header, arguments and data, each in a segment of its own at an odd address. */
export const unaligned: Layout = {
  name: 'unaligned',
  place: (frontend, pieceBytes) =>
    pieceBytes.filter((n) => n > 0).map((n, i) => take(frontend, n, 8, 0, 2 * i + 1)),
}

/** One segment for each piece, one behind the other from `gpa` on. */
export function from(gpa: number): Layout {
  let nextGpa = gpa
  return {
    name: `from ${gpa} on`,
    place(_frontend, pieceBytes) {
      const segment = { gpa: nextGpa, lenBytes: sum(pieceBytes) }
      nextGpa += segment.lenBytes
      return [segment]
    },
  }
}

/** Cuts every `segmentBytes` regardless of contents, as far as the ring has room; the rest is one segment. */
export function every(segmentBytes: number): Layout {
  return {
    name: `in segments of ${segmentBytes}`,
    place: (frontend, pieceBytes, maxSegments) =>
      cutEvery(segmentBytes, sum(pieceBytes), maxSegments).map((n, i) => take(frontend, n, 8, 0, i % 8)),
  }
}

/**
 * One segment each for the request and the reply. Each crosses the end of the shared region number `side` in its
 * middle.
 */
export function acrossRegions(regionBytes: readonly number[]): Layout {
  return {
    name: 'across regions',
    place(_frontend, pieceBytes, _maxSegments, side) {
      const lenBytes = sum(pieceBytes)
      const boundaryGpa = sum(regionBytes.slice(0, side + 1))
      return [{ gpa: boundaryGpa - Math.ceil(lenBytes / 2), lenBytes }]
    },
  }
}

function cutEvery(segmentBytes: number, totalBytes: number, maxSegments: number): number[] {
  const cuts: number[] = []
  let left = totalBytes
  while (left > segmentBytes && cuts.length < maxSegments - 1) {
    cuts.push(segmentBytes)
    left -= segmentBytes
  }
  if (left > 0) cuts.push(left)
  return cuts
}

function take(
  frontend: Frontend,
  lenBytes: number,
  alignment: number,
  gapBytes: number,
  misalignment = 0,
): Buffer {
  const gpa = frontend.allocate(lenBytes + misalignment + gapBytes, alignment) + misalignment
  return { gpa, lenBytes }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}

import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'

/** Calls `take` for each line of a stream. How its other end ends is told elsewhere, so errors of the stream are not. */
export function readLines(stream: Readable, take: (line: string) => void): void {
  // readline hands on the stream's errors as its own.
  createInterface({ input: stream })
    .on('line', take)
    .on('error', () => {})
}

import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'

/**
 * Calls `take` for each line of a stream. Ignores the stream's errors: the end of its source is reported elsewhere.
 */
export function readLines(stream: Readable, take: (line: string) => void): void {
  // readline passes on the stream's errors as its own.
  createInterface({ input: stream })
    .on('line', take)
    .on('error', () => {})
}

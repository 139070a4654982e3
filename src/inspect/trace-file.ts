import { closeSync, constants, openSync, renameSync, writeSync } from 'node:fs'
import { codeOf } from '../basics/errors.js'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants

/**
 * A trace on disk: FILE. When a new file begins, the last one is renamed to FILE.1. There are never more than these
 * two.
 */
export class TraceFile {
  private fd = -1

  constructor(private readonly path: string) {}

  /** Appends a chunk; `first` begins a new file. Throws the file system's error. */
  write(chunk: Uint8Array, first: boolean): void {
    if (first || this.fd < 0) this.begin()
    writeSync(this.fd, chunk)
  }

  close(): void {
    if (this.fd >= 0) closeSync(this.fd)
    this.fd = -1
  }

  private begin(): void {
    this.close()
    try {
      renameSync(this.path, `${this.path}.1`)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
    // A file that has taken the name meanwhile is neither followed nor overwritten.
    this.fd = openSync(this.path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  }
}

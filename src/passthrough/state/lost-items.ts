import { StateError } from 'vhost-user-ts'
import { errnoName } from 'virtio-fs-ts/protocol'
import type { MigrationErrorUse } from './options.js'

/** The kinds of items that a migration can lose. */
export type LostKind =
  | 'inodes that are not at their paths any more'
  | 'inodes with another file at their paths'
  | 'inodes without a name'
  | 'inodes that cannot be opened by file handle'
  | 'inodes that the source had lost, too'
  | 'open files that cannot be opened again'
  | 'open directories that cannot be opened again'
  | 'locks that cannot be taken again'

const decoder = new TextDecoder()

/** Counts what is lost on the way. */
export class LostItems {
  private readonly kinds = new Map<LostKind, { count: number; first: string }>()

  constructor(private readonly onError: MigrationErrorUse) {}

  /** Throws StateError if the migration must then fail. */
  add(kind: LostKind, path: Uint8Array | undefined, error: number): void {
    const what = path === undefined ? 'no path' : `/${decoder.decode(path)}`
    const first = `${what} (${errnoName(-error)})`
    if (this.onError === 'abort')
      throw new StateError(`${kind}: ${first}; --migration-on-error guest-error would go on without`)
    this.addQuietly(kind, first)
  }

  /** Counts what no migration fails for. */
  addQuietly(kind: LostKind, first: string): void {
    const known = this.kinds.get(kind)
    if (known === undefined) this.kinds.set(kind, { count: 1, first })
    else known.count++
  }

  report(report: (kind: string, fields: object) => void): void {
    for (const [kind, { count, first }] of this.kinds) report(`migration lost ${kind}`, { count, first })
  }
}

/** A small fault in fs/fuse, as somebody could make it. */
export interface Mutant {
  /** The value of the kernel's parameter that switches it on. Never used for another again. */
  readonly id: number
  readonly what: string
  /** Below fs/fuse. */
  readonly file: string
  /** Code of Linux 6.12, found once in the file, and what replaces it. FAULT stands for "this fault is on". */
  readonly before: string
  readonly after: string
  /** A second place. */
  readonly also?: { readonly before: string; readonly after: string }
  readonly elsewhere?: { readonly file: string; readonly before: string; readonly after: string }
  /** Cells that must find it: "case@share". */
  readonly caughtBy: readonly string[]
  /** It acts when a share is mounted: the guest boots with it. */
  readonly atMount?: true
}

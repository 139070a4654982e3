/**
 * A buffer for something of changing length that is lent out until the next time. Most have the same length as the one
 * before, and a view of their own takes longer than to fill it.
 */
export class LentBytes {
  readonly bytes: Uint8Array
  private view: Uint8Array

  constructor(maxBytes: number) {
    this.bytes = new Uint8Array(maxBytes)
    this.view = this.bytes.subarray(0, 0)
  }

  /** Lends out the first bytes. */
  first(lenBytes: number): Uint8Array {
    if (this.view.length !== lenBytes) this.view = this.bytes.subarray(0, lenBytes)
    return this.view
  }
}

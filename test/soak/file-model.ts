import { strict as assert } from 'node:assert'

/** The contents of a file, as far as the device has confirmed them. */
export class FileModel {
  bytes: Buffer = Buffer.alloc(0)
  /** Writes without an answer: each byte may have its old or its new value. */
  private readonly unanswered: { readonly at: number; readonly data: Uint8Array }[] = []

  /** Records an answered write. */
  write(at: number, data: Uint8Array): void {
    this.truncate(Math.max(this.bytes.length, at + data.length))
    this.bytes.set(data, at)
  }

  truncate(lenBytes: number): void {
    const grown = Buffer.alloc(lenBytes)
    this.bytes.copy(grown)
    this.bytes = grown
  }

  /** Zeroes a stretch without moving the end. */
  punch(at: number, lenBytes: number): void {
    this.bytes.fill(0, Math.min(at, this.bytes.length), Math.min(at + lenBytes, this.bytes.length))
  }

  /** Records a write that was in flight when the front-end or the device ended. */
  leaveUnanswered(at: number, data: Uint8Array): void {
    this.unanswered.push({ at, data })
  }

  /**
   * Compares with the actual contents, and takes uncertain bytes from them. Throws if a byte is neither old nor new.
   */
  settle(actual: Uint8Array): void {
    if (this.unanswered.length === 0) {
      assert.ok(this.bytes.equals(actual), firstDifference(this.bytes, actual))
      return
    }
    const longest = Math.max(this.bytes.length, ...this.unanswered.map(({ at, data }) => at + data.length))
    assert.ok(actual.length >= this.bytes.length && actual.length <= longest, `${actual.length} bytes`)
    for (let n = 0; n < actual.length; n++) {
      const byte = actual[n]
      const isOld = n < this.bytes.length ? byte === this.bytes[n] : byte === 0
      const isNew = this.unanswered.some(({ at, data }) => n >= at && data[n - at] === byte)
      assert.ok(isOld || isNew, `byte ${n} is ${byte}, neither old nor new`)
    }
    this.bytes = Buffer.from(actual)
    this.unanswered.length = 0
  }
}

function firstDifference(expected: Uint8Array, actual: Uint8Array): string {
  if (expected.length !== actual.length) return `${actual.length} bytes, not ${expected.length}`
  const at = expected.findIndex((byte, n) => byte !== actual[n])
  return `byte ${at} is ${actual[at]}, not ${expected[at]}`
}

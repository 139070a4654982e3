const SIGN = 0x8000_0000

/** Values at which lengths and indices often fail: around powers of two, and the ends of signed and unsigned words. */
const edges32 = [
  0, 1, 2, 7, 8, 15, 16, 17, 39, 40, 41, 127, 128, 129, 255, 256, 4095, 4096, 4097, 65_535, 65_536,
]
const ends32 = [SIGN - 1, SIGN, SIGN + 1, 0xffff_fff0, 0xffff_fffe, 0xffff_ffff]
const edges64 = [2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64 - 2048]

/**
 * Turns bytes into decisions: the same bytes decide the same. Missing bytes are 0, and 0 stands for correct behaviour.
 */
export class ByteSource {
  private bytes: Uint8Array = new Uint8Array(0)
  private at = 0

  begin(bytes: Uint8Array): this {
    this.bytes = bytes
    this.at = 0
    return this
  }

  u8(): number {
    return this.at < this.bytes.length ? this.bytes[this.at++] : 0
  }

  u16(): number {
    return this.u8() | (this.u8() << 8)
  }

  u32(): number {
    return (this.u16() | (this.u16() << 16)) >>> 0
  }

  /** Returns an integer from 0 up to, not including, `end`. */
  below(end: number): number {
    return (end <= 256 ? this.u8() : end <= 65_536 ? this.u16() : this.u32()) % end
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]
  }

  /** Returns true for one byte value in `count`. */
  oneIn(count: number): boolean {
    return this.u8() >= 256 - 256 / count
  }

  edge32(): number {
    switch (this.below(4)) {
      case 0:
        return this.pick(edges32)
      case 1:
        return this.u8()
      case 2:
        return this.pick(ends32)
      default:
        return this.u32()
    }
  }

  edge64(): bigint {
    switch (this.below(4)) {
      case 0:
        return BigInt(this.edge32())
      case 1:
        return BigInt(this.pick(edges64)) + BigInt(this.below(3)) - 1n
      case 2:
        return BigInt(this.u32()) | (BigInt(this.u32()) << 32n)
      default:
        return BigInt(this.u16())
    }
  }
}

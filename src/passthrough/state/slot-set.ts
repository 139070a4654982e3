/** A set of slots: one bit for each. */
export class SlotSet {
  private readonly bits: Uint8Array

  constructor(end: number) {
    this.bits = new Uint8Array((end + 7) >>> 3)
  }

  has(slot: number): boolean {
    return (this.bits[slot >>> 3] & (1 << (slot & 7))) !== 0
  }

  add(slot: number): void {
    this.bits[slot >>> 3] |= 1 << (slot & 7)
  }
}

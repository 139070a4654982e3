/** Returns bytes that differ by place and by seed, so that shifted or exchanged blocks show. */
export function pattern(lenBytes: number, seed: number): Uint8Array {
  const data = new Uint8Array(lenBytes)
  let state = (seed + 1) * 0x9e37_79b1
  for (let n = 0; n < lenBytes; n++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    data[n] = state >>> 24
  }
  return data
}

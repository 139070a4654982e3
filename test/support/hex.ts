/** Parses hexadecimal bytes; white space, and text after a #, is for the reader. */
export function bytesOf(text: string): Uint8Array {
  const digits = text.replaceAll(/#.*/g, '').replaceAll(/\s/g, '')
  if (!/^([0-9a-f]{2})*$/.test(digits)) throw new Error(`not bytes: ${digits}`)
  return Uint8Array.from(Buffer.from(digits, 'hex'))
}

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

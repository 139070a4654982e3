import type { Test } from 'tap'
import { bytesOf, hexOf, viewOf } from '../hex.js'

/** A field of a struct: the byte behind it, and its value in the golden bytes. */
export type Field = readonly [endByte: number, value: number]

type Reader = (view: DataView, at: number) => number
type Writer = (view: DataView, at: number) => void

/** A second offset, besides 0, at which each struct is tried: no alignment is promised. */
const ODD_AT = 5

/**
 * Pins every reader of `codec` to golden bytes: each returns the right number at any offset in a buffer, needs no
 * byte behind its field, and throws a RangeError if the buffer is one byte short.
 */
export function checkReaders(
  t: Test,
  codec: object,
  golden: string,
  fields: Readonly<Record<string, Field>>,
): void {
  const bytes = bytesOf(golden)
  const readers = Object.entries(codec).filter(([name, value]) => isReader(name, value))
  t.same(
    readers.map(([name]) => name).sort(),
    Object.keys(fields).sort(),
    'every reader of the codec has a golden value',
  )
  const shifted = new Uint8Array(ODD_AT + bytes.length)
  shifted.set(bytes, ODD_AT)
  for (const [name, read] of readers as [string, Reader][]) {
    const [endByte, value] = fields[name]
    t.equal(read(viewOf(bytes.slice(0, endByte)), 0), value, `${name} at 0`)
    t.throws(() => read(viewOf(bytes.slice(0, endByte - 1)), 0), RangeError, `${name} one byte short`)
    if (read.length < 2) continue
    t.equal(read(viewOf(shifted), ODD_AT), value, `${name} at ${ODD_AT}`)
  }
}

/** Pins a writer to golden bytes: it writes all of them and nothing around them, and throws if there is no room. */
export function checkWriter(t: Test, write: Writer, golden: string): void {
  const { length } = bytesOf(golden)
  const out = new Uint8Array(length + 2 * ODD_AT).fill(0xee)
  write(viewOf(out.subarray(ODD_AT)), 0)
  const around = 'ee'.repeat(ODD_AT)
  t.equal(hexOf(out), `${around}${hexOf(bytesOf(golden))}${around}`, 'writes the golden bytes and no others')
  t.throws(() => write(viewOf(new Uint8Array(length - 1)), 0), RangeError, 'one byte short')
}

/** Pins a writer of words, which does not check its room; it begins at word `w`. */
export function checkWordWriter(
  t: Test,
  write: (words: Int32Array, w: number) => void,
  golden: string,
): void {
  const { length } = bytesOf(golden)
  const out = new Uint8Array(length + 8).fill(0xee)
  write(new Int32Array(out.buffer), 1)
  t.equal(hexOf(out), `eeeeeeee${hexOf(bytesOf(golden))}eeeeeeee`, 'writes the golden bytes and no others')
}

/** A struct of requests or replies from include/uapi/linux/fuse.h, with golden bytes. */
export interface RequestStruct {
  readonly codec: object & { readonly BYTES: number }
  readonly lenBytes: number
  readonly golden: string
  readonly fields: Readonly<Record<string, Field>>
}

/** A test for each struct, by its name. */
export function checkStructs(t: Test, structs: Readonly<Record<string, RequestStruct>>): void {
  for (const [name, { codec, lenBytes, golden, fields }] of Object.entries(structs)) {
    t.test(`${name} has ${lenBytes} bytes, and each field is where the kernel puts it`, async (t) => {
      t.equal(codec.BYTES, lenBytes)
      checkReaders(t, codec, golden, fields)
    })
  }
}

const notReaders = [
  'limitBlocks',
  'limitFiles',
  'write',
  'writeHead',
  'writeHeader',
  'writeLenBytes',
  'writeName',
  'writeEntryTimeout',
  'writeNothing',
  'paddedBytes',
  'regionAt',
]

function isReader(name: string, value: unknown): boolean {
  return typeof value === 'function' && !notReaders.includes(name)
}

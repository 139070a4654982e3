/** A thread that acts as the host: it exchanges a name with others, one after the other, until it is stopped. */
import { workerData } from 'node:worker_threads'
import * as native from 'virtiofsd-ts-native'

export interface SwapperStart {
  readonly path: string
  /** The names that take its place in turn; all of them exist. */
  readonly others: readonly string[]
  /** Word 0: 1 to end it, with every name back in its place. Word 1: swaps so far. */
  readonly control: Int32Array
}

const { path, others, control } = workerData as SwapperStart
const { AT_FDCWD, RENAME_EXCHANGE } = native.constants
const name = Buffer.from(`${path}\0`)
const names = others.map((other) => Buffer.from(`${other}\0`))
/** Each round moves every name one place on. */
const wholeCircle = names.length * (names.length + 1)
let swaps = 0
while (Atomics.load(control, 0) === 0 || swaps % wholeCircle !== 0) {
  native.renameat2(AT_FDCWD, name, 0, AT_FDCWD, names[swaps % names.length], 0, RENAME_EXCHANGE)
  Atomics.store(control, 1, ++swaps)
}

/** A thread that is the host: exchanges a name with others, one after the other, for as long as it is told to. */
import { workerData } from 'node:worker_threads'
import * as native from 'virtiofsd-ts-native'

export interface SwapperStart {
  readonly path: string
  /** What takes its place in turn; all of it exists. */
  readonly others: readonly string[]
  /** Word 0: 1 to end it, with everything in its own place. Word 1: swaps so far. */
  readonly control: Int32Array
}

const { path, others, control } = workerData as SwapperStart
const { AT_FDCWD, RENAME_EXCHANGE } = native.constants
const name = Buffer.from(`${path}\0`)
const names = others.map((other) => Buffer.from(`${other}\0`))
/** Each round moves everything one place on. */
const wholeCircle = names.length * (names.length + 1)
let swaps = 0
while (Atomics.load(control, 0) === 0 || swaps % wholeCircle !== 0) {
  native.renameat2(AT_FDCWD, name, 0, AT_FDCWD, names[swaps % names.length], 0, RENAME_EXCHANGE)
  Atomics.store(control, 1, ++swaps)
}

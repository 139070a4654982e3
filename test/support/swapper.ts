/** A thread that is the host: replaces a directory by a link and back, for as long as it is told to. */
import { renameSync, symlinkSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import * as native from 'virtiofsd-ts-native'

export interface SwapperStart {
  readonly path: string
  /** Where the link leads. */
  readonly target: string
  /** Word 0: 1 to end it. Word 1: swaps so far. */
  readonly control: Int32Array
}

const { path, target, control } = workerData as SwapperStart
const { AT_FDCWD, RENAME_EXCHANGE } = native.constants
const link = `${path}-link`
const [one, other] = [path, link].map((name) => Buffer.from(`${name}\0`))
symlinkSync(target, link)
let swaps = 0
while (Atomics.load(control, 0) === 0 || swaps % 2 !== 0) {
  native.renameat2(AT_FDCWD, one as Buffer, 0, AT_FDCWD, other as Buffer, 0, RENAME_EXCHANGE)
  Atomics.store(control, 1, ++swaps)
}
renameSync(link, `${path}-gone`)

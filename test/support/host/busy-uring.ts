/**
 * A process in which io_uring takes no more operations, as in Linux 5.5 to 5.18 while overflowed results wait. It
 * starts more calls than a submission queue holds, and prints how many of them complete.
 */
import { openSync } from 'node:fs'
import * as native from 'virtiofsd-ts-native'

const CALLS = 200
const SUBMISSION_QUEUE = 64
const EBUSY = 16
const FSYNC = 2

/** load the number; io_uring_enter: EBUSY; else allow (struct sock_filter: u16 code, u8 jt, u8 jf, u32 k). */
function refuseEnter(): Uint8Array {
  const words = [
    [0x20, 0, 0, 0],
    [0x15, 0, 1, native.systemCallNumber('io_uring_enter')],
    [0x06, 0, 0, 0x0005_0000 | EBUSY],
    [0x06, 0, 0, 0x7fff_0000],
  ]
  const view = new DataView(new ArrayBuffer(8 * words.length))
  words.forEach(([code, yes, no, k], n) => {
    view.setUint16(8 * n, code, true)
    view.setUint8(8 * n + 2, yes)
    view.setUint8(8 * n + 3, no)
    view.setUint32(8 * n + 4, k, true)
  })
  return new Uint8Array(view.buffer)
}

const fd = openSync('.', 'r')
const engine = native.asyncCreate(1, 1, 0)
if (native.asyncUringFd(engine) < 0) throw new Error('no io_uring')
if (native.seccompInstall(refuseEnter()) !== 0) throw new Error('no seccomp')
for (let token = 0; token < CALLS; token++) {
  const started = native.asyncFile(FSYNC, token, fd, 0, 0, 0)
  if (started !== 0) throw new Error(`call ${token}: ${started}`)
}
const left = native.asyncSubmit(engine)
const results = new Int32Array(2 * CALLS)
let ended = 0
while (ended < CALLS - SUBMISSION_QUEUE) {
  await new Promise((resolve) => setTimeout(resolve, 1))
  ended += native.asyncReap(engine, results)
}
process.stdout.write(JSON.stringify({ left, ended }))

/** The kernel counts the rings of all processes of a user as locked memory, of which it allows 8 MiB: they have to be small. */
import { execFileSync } from 'node:child_process'
import t from 'tap'

const LIMIT_KIB = 48

const PROGRAM = `
import { readFileSync } from 'node:fs'
import * as native from '${import.meta.resolve('virtiofsd-ts-native')}'
// What is mapped of a ring is what is counted. Node may have rings of its own.
const mappedKib = () => {
  let bytes = 0
  for (const [, from, to] of readFileSync('/proc/self/maps', 'utf8').matchAll(/^(\\w+)-(\\w+) .*\\[io_uring\\]$/gm))
    bytes += Number(BigInt('0x' + to) - BigInt('0x' + from))
  return bytes / 1024
}
const before = mappedKib()
const hasRing = native.asyncUringFd(native.asyncCreate(1, 1, 0)) >= 0
process.stdout.write(JSON.stringify({ hasRing, kib: mappedKib() - before }))
`

t.test(`a ring takes less than ${LIMIT_KIB} KiB`, async (t) => {
  const program = ['--input-type=module', '-e', PROGRAM]
  const { hasRing, kib } = JSON.parse(execFileSync(process.execPath, program, { encoding: 'utf8' }))
  if (hasRing) t.ok(kib > 0 && kib < LIMIT_KIB, `${kib} KiB`)
  else t.equal(kib, 0, 'the kernel forbids io_uring')
})

/** A short `make bench-confinement`: its figures are not checked, only that it prints them. */
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { runProgram } from '../../support/device/program.js'

const BENCH = fileURLToPath(new URL('../../../vm/bench-confinement.js', import.meta.url))

t.test('the report has every workload, both measures, and all of them together', async (t) => {
  const { status, stdout } = runProgram(['--pairs', '1', '--run-ms', '10'], [], BENCH)
  t.equal(status, 0)
  const rows = stdout.split('\n').filter((line) => / [+-][\d.]+ % ±[\d.]+ +[+-][\d.]+ % ±[\d.]+$/.test(line))
  t.same(
    rows.map((line) => line.split(/ {2,}/)[0]),
    [
      ...['getattr', 'lookup + forget', 'open + release', 'create + unlink'].flatMap(atBothDepths),
      ...['4 KiB random', '128 KiB', '1 MiB'].flatMap((size) =>
        ['read', 'write'].flatMap((kind) => atBothDepths(`${kind} ${size}`)),
      ),
      'all together',
    ],
  )
})

t.test('wrong options are refused', async (t) => {
  t.match(runProgram(['--pairs', '0'], [], BENCH), { status: 2, stderr: 'not a positive number: 0' })
})

function atBothDepths(name: string): string[] {
  return [`${name}, 1 deep`, `${name}, 32 deep`]
}

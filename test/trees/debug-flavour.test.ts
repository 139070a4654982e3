/** `make lab FLAVOUR=debug`: what the kernel's own checks report is a fault of the case in which it appears. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t from 'tap'
import type { LabResult } from '../../vm/lab/result.js'
import { tempDir } from '../support/host/temp-dir.js'
import { FAULTY, makeKernelHistory } from './kernel-history.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
/** A cell for each fault, in the order of the lab. */
const REPORTS = {
  'overlap/truncated-meanwhile parallel': /possible circular locking dependency detected/,
  'data/fsync-waits writeback': /sleeping function called from invalid context/,
  'names/links direct': /KASAN: slab-out-of-bounds in fuse_symlink/,
} as const

t.setTimeout(3_600_000)

t.test('lockdep, DEBUG_ATOMIC_SLEEP, KASAN and kmemleak report', async (t) => {
  const json = join(tempDir(t), 'debug.json')
  const cases = ['overlap/truncated-meanwhile', 'data/fsync-waits', 'names/{absent,links}', 'leaks/*']
  const { exitCode } = await execa(
    'vm/lab/lab',
    [
      ...['--tree', await makeKernelHistory(), '--rev', FAULTY, '--flavour', 'debug'],
      ...['--cases', `{${cases.join(',')}}`, '--json', json],
    ],
    { cwd: ROOT, reject: false, stdout: 'inherit', stderr: 'inherit' },
  )
  t.equal(exitCode, 1)
  const { kernels } = JSON.parse(readFileSync(json, 'utf8')) as LabResult
  const { cells } = kernels[0]!
  const cellOf = (name: string) => cells.find((cell) => `${cell.case} ${cell.share}` === name)!
  for (const [name, report] of Object.entries(REPORTS)) {
    t.equal(cellOf(name).verdict, 'unexpected', name)
    t.match(cellOf(name).trouble.join('\n'), report)
  }
  const leaks = cellOf('leaks/kmemleak direct')
  t.match(leaks.observed, /^\d+ objects$/)
  t.match(leaks.evidence, /fuse_unlink/)
})

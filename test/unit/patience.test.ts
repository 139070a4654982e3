import { spawn } from 'node:child_process'
import t from 'tap'
import { findInPath } from '../../vm/host/find-in-path.js'
import { whenLate } from '../../vm/host/patience.js'

const LIMIT_MS = 400
const noTaskset = findInPath('taskset') === undefined && 'no taskset in $PATH'

t.test('a limit is longer while our children wait for a processor', { skip: noTaskset }, async (t) => {
  const busy = Array.from({ length: 4 }, () =>
    spawn('taskset', ['-c', '0', process.execPath, '-e', 'for (;;);'], { stdio: 'ignore' }),
  )
  t.teardown(() => {
    for (const child of busy) child.kill('SIGKILL')
  })
  const startMs = performance.now()
  await new Promise<void>((resolve) => whenLate(process.pid, LIMIT_MS, resolve))
  t.ok(performance.now() - startMs > 2 * LIMIT_MS, 'four loops on one processor wait for most of the time')
})

t.test('a limit that is called off is not reported', async (t) => {
  let isLate = false
  whenLate(process.pid, 10, () => {
    isLate = true
  })()
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.notOk(isLate)
})

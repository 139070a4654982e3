/** The shorter pieces of `make work`, on write-back caching, where most can go wrong. */
import t from 'tap'
import { serveDebianRoot } from '../../vm/device/debian-root.js'
import { jobNamed, scriptJob, sqliteKill } from '../../vm/measure/work/jobs.js'
import { Workplace } from '../../vm/measure/work/workplace.js'

t.setTimeout(900_000)

const COMMITS = 60

t.test('real work under write-back caching', async (t) => {
  if (process.getuid?.() !== 0) {
    t.pass('real work', { skip: 'needs root: it makes devices, and files of several users' })
    return
  }
  const root = await serveDebianRoot()
  t.teardown(() => root.stop())
  const place = new Workplace(
    { root, supplies: undefined },
    { policy: 'write-back', kernel: '7', qemu: '11' },
  )
  t.teardown(() => place.close())
  const pieces = [
    scriptJob('git', `import of ${COMMITS} commits, two clones, checkouts, gc, fsck --strict`, { COMMITS }),
    sqliteKill,
    ...['rsync', 'tar', 'overlay', 'chattr', 'kernel-log'].map(jobNamed),
  ]
  for (const { name, story, run } of pieces) await t.resolves(run(place), `${name}: ${story}`)
})

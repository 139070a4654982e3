import { join } from 'node:path'
import t from 'tap'
import { makeTemporaryDir } from '../../../vm/host/temporary-dir.js'
import { makeBenchShare } from '../../../vm/measure/bench-device/bench-share.js'
import { CASES } from '../../../vm/measure/bench-device/cases.js'
import { Contender } from '../../../vm/measure/bench-device/contender.js'

const MIB = 1024 * 1024
const OPTIONS = { device: 'virtiofsd-ts', args: ['--allow-direct-io'], placement: 'free' } as const

t.test('every workload of the benchmark does what it says, over one queue and over four', async (t) => {
  const dir = makeTemporaryDir()
  t.teardown(dir.remove)
  // Not on tmpfs, which Linux before 6.6 does not open with O_DIRECT.
  const share = makeBenchShare(join(dir.path, 'share'), 64 * MIB, 300)
  let samples = 0
  for (const queues of [1, 4]) {
    const contender = await Contender.start({ ...OPTIONS, share, queues })
    for (const { name, job } of [
      ...CASES,
      { name: 'mix', job: { workload: 'mix', depth: 32, bytes: 4096 } },
    ]) {
      // A reply that is an error, or of a wrong length, ends the run.
      const result = await contender.run(job, 10, 0)
      t.ok(result.ops >= job.depth, name)
      samples += result.deviceUserTicks + result.deviceKernelTicks
      t.ok(
        result.p50Us > 0 && result.p50Us <= result.p99Us && result.p99Us <= result.maxUs * 1.02,
        `${name}: latency`,
      )
      if (job.workload.startsWith('readdirplus')) {
        t.equal(
          Math.round((result.entriesPerSec * result.seconds) / result.ops),
          share.entries,
          'all are listed',
        )
      }
      if (job.beside !== undefined) t.ok(result.beside!.ops > 0, `${name}: beside`)
    }
    await contender.stop()
  }
  t.ok(samples > 0, `${samples} samples of the device’s processor time`)
})

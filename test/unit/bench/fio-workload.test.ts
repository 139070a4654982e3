/** What is asked of fio, and what is read of its answer. */
import t from 'tap'
import { fioWorkload, jobFile, nameOf, parseOutput } from '../../../vm/measure/bench/fio-workload.js'
import { alternate } from '../../../vm/measure/bench/measure.js'
import { allCases } from '../../../vm/measure/bench/plan.js'
import type { Side } from '../../../vm/measure/bench/side.js'

const ours = { who: 'ours', guestDir: '/never-ours' } as Side
const peer = { who: 'peer', guestDir: '/never-peer' } as Side
const randread = { rw: 'randread', blockKiB: 4, engine: 'psync', depth: 1, direct: true } as const

t.test('the two sides take turns, and each begins as often', async (t) => {
  t.same(
    alternate([ours, peer], 3).map(({ who }) => who),
    ['ours', 'peer', 'peer', 'ours', 'ours', 'peer'],
  )
})

t.test('the job file has a section for each run, one after the other', async (t) => {
  const text = jobFile(randread, [ours, peer, peer], 600)
  t.match(text, /^\[global\]\nrw=randread\nbs=4k\nioengine=psync\niodepth=1\ndirect=1\n/)
  t.match(text, /^runtime=600ms\ntime_based=1$/m)
  t.same(
    [...text.matchAll(/^\[(\d-\w+)\]\nstonewall\nfilename=(\S+)$/gm)].map(([, name, file]) => [name, file]),
    [
      ['0-ours', '/never-ours/data'],
      ['1-peer', '/never-peer/data'],
      ['2-peer', '/never-peer/data'],
    ],
  )
})

t.test('cached files are invalidated before reads, and written back after writes', async (t) => {
  const buffered = { ...randread, direct: false }
  t.notMatch(jobFile(buffered, [ours], 600), /time_based|end_fsync/)
  t.match(jobFile(buffered, [ours], 600), /invalidate=1/)
  t.match(jobFile({ ...buffered, rw: 'write' }, [ours], 600), /end_fsync=1/)
})

const stream = (iops: number) => ({
  iops,
  bw_bytes: iops * 4096,
  total_ios: iops,
  clat_ns: { percentile: { '50.000000': 250_000 } },
})
const idle = { iops: 0, bw_bytes: 0, total_ios: 0, clat_ns: {} }

t.test('the answer is found after other output, and errors are not overlooked', async (t) => {
  const jobs = [
    { jobname: '0-ours', error: 0, read: stream(100), write: idle },
    { jobname: '1-peer', error: 0, read: idle, write: stream(50) },
  ]
  const text = (some: object[]) => `note: something\n${JSON.stringify({ jobs: some })}`
  t.match(parseOutput(text(jobs), 2), [{ iops: 100 }, { iops: 50 }])
  t.throws(() => parseOutput(text(jobs), 3), { message: 'fio: 2 results for 3 runs' })
  t.throws(() => parseOutput(text([{ ...jobs[0], error: 5 }]), 1), { message: /0-ours failed with error 5/ })
})

t.test('small blocks count operations, large ones bytes', async (t) => {
  t.match(fioWorkload(randread).results, [{ unit: 'ops/s', opcodes: ['READ'] }])
  t.match(fioWorkload({ ...randread, rw: 'write', blockKiB: 1024 }).results, [
    { unit: 'MB/s', opcodes: ['WRITE'] },
  ])
  t.equal(
    nameOf({ ...randread, blockKiB: 1024, engine: 'io_uring', depth: 16 }),
    'randread 1m io_uring depth 16 direct',
  )
  t.equal(nameOf({ ...randread, jobs: 4 }), 'randread 4k psync direct, 4 jobs on one file')
})

t.test('the plan has no case twice, and a fixed choice of quick ones', async (t) => {
  const names = allCases.map(({ policy, workload }) => `${policy.name}: ${workload.name}`)
  t.equal(new Set(names).size, names.length, 'no case twice')
  const quick = allCases.filter((one) => one.quick)
  t.equal(quick.length, 13)
  t.same([...new Set(quick.map(({ policy }) => policy.name))], ['never', 'parallel', 'auto'])
})

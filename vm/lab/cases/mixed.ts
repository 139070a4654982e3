import type { LabCase, Observation } from '../case.js'
import type { Scene } from '../scene.js'

const SECONDS = 60
const GRACE_MS = 120_000
const FILES = 2
const FILE_MIB = 4

interface FioReport {
  readonly jobs: readonly {
    readonly jobname: string
    readonly error: number
    readonly read: { readonly total_ios: number }
    readonly write: { readonly total_ios: number }
  }[]
}

/** As in xfstests generic/095: all kinds of reads and writes at once on the same files. */
const JOBS: Readonly<Record<string, string>> = {
  buffered: '--ioengine=psync --rw=randrw --bs=4k',
  direct: '--ioengine=psync --direct=1 --rw=randrw --bs=4k',
  aio: '--ioengine=libaio --direct=1 --iodepth=16 --rw=randrw --bs=4k',
  mmap: '--ioengine=mmap --rw=randrw --bs=4k',
  splice: '--ioengine=splice --rw=randrw --bs=4k',
}

async function mixed(scene: Scene): Promise<Observation> {
  const { parallelDio, allowMmap } = scene.facts
  const canMap = !parallelDio || allowMmap
  const jobs = Object.entries(JOBS).filter(([name]) => name !== 'mmap' || canMap)
  const files = Array.from({ length: FILES }, (_, n) => scene.makeAnyFile(FILE_MIB << 20, `-${n}`))
  const command = [
    'fio --output-format=json --thread --time_based --overwrite=1 --invalidate=0 --norandommap',
    `--runtime=${SECONDS} --size=${FILES * FILE_MIB}m`,
    `--filename=${files.map((file) => scene.guestPath(file)).join(':')}`,
    ...jobs.map(([name, options]) => `--name=${name} ${options}`),
  ].join(' ')
  const report = JSON.parse(
    await scene.guest.output(command, { timeoutMs: SECONDS * 1000 + GRACE_MS }),
  ) as FioReport
  const failed = report.jobs.filter(({ error }) => error !== 0)
  const counts = report.jobs.map(
    ({ jobname, read, write }) => `${jobname} ${read.total_ios + write.total_ios}`,
  )
  return {
    observed:
      failed.length === 0 ? 'quiet' : failed.map(({ jobname, error }) => `${jobname}: ${error}`).join(', '),
    evidence: `${SECONDS} s, operations: ${counts.join(', ')}`,
  }
}

export const mixedCases: readonly LabCase[] = [
  {
    name: 'mixed/all-at-once',
    question: 'a minute of buffered, direct, aio, mmap and splice I/O on the same files',
    shares: ['parallel+mmap', 'writeback'],
    seconds: SECONDS,
    races: true,
    programs: ['fio'],
    expected: () => 'quiet',
    run: mixed,
  },
]

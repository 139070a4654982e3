import { randomFillSync } from 'node:crypto'
import { closeSync, openSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Side } from './side.js'
import type { Sample, Workload } from './workload.js'

/** One way to read or write a file with fio. */
export interface FioJob {
  rw: 'read' | 'write' | 'randread' | 'randwrite'
  blockKiB: number
  engine: 'psync' | 'io_uring'
  depth: number
  /** O_DIRECT. */
  direct: boolean
  /** Writers or readers of the same file. */
  jobs?: number
}

const FILE = 'data'
const FILE_MIB = 64
const MIB = 1024 * 1024
/** From this block size on, bytes per second matter more than operations per second. */
const LARGE_KIB = 64
const COMMAND_TIMEOUT_MS = 300_000

/** The part of fio's JSON that is read here. */
interface FioOutput {
  jobs: { jobname: string; error: number; read: FioStream; write: FioStream }[]
}

interface FioStream {
  iops: number
  bw_bytes: number
  total_ios: number
  clat_ns: { percentile?: Record<string, number> }
}

export function fioWorkload(job: FioJob): Workload {
  const large = job.blockKiB >= LARGE_KIB
  return {
    name: nameOf(job),
    results: [
      { name: nameOf(job), unit: large ? 'MB/s' : 'ops/s', opcodes: [isRead(job) ? 'READ' : 'WRITE'] },
    ],
    prepare: async (_, side) => writeDataFile(side),
    run: async (guest, order, runtimeMs) => {
      const output = await guest.output('fio --output-format=json -', {
        stdin: jobFile(job, order, runtimeMs),
        timeoutMs: COMMAND_TIMEOUT_MS,
      })
      return parseOutput(output, order.length).map((stream) => [toSample(stream, large)])
    },
  }
}

/** Names a job: "randread 4k psync direct", "randwrite 4k psync direct, 4 jobs on one file". */
export function nameOf({ rw, blockKiB, engine, depth, direct, jobs = 1 }: FioJob): string {
  const block = blockKiB >= 1024 ? `${blockKiB / 1024}m` : `${blockKiB}k`
  const how = `${rw} ${block} ${engine}${depth > 1 ? ` depth ${depth}` : ''} ${direct ? 'direct' : 'buffered'}`
  return jobs > 1 ? `${how}, ${jobs} jobs on one file` : how
}

/**
 * Returns a job file with one section for each run. Sections follow each other in one fio, since its start is slow in
 * an emulated guest.
 */
export function jobFile(job: FioJob, order: readonly Side[], runtimeMs: number): string {
  const { rw, blockKiB, engine, depth, direct, jobs = 1 } = job
  const lines = [
    '[global]',
    `rw=${rw}`,
    `bs=${blockKiB}k`,
    `ioengine=${engine}`,
    `iodepth=${depth}`,
    `direct=${direct ? 1 : 0}`,
    `numjobs=${jobs}`,
    'thread=1',
    'group_reporting=1',
    `size=${FILE_MIB}m`,
    `runtime=${runtimeMs}ms`,
    // Cached reads run once, since a second pass would measure the guest's memory. For writes, the write-back is
    // included.
    ...(direct ? ['time_based=1'] : ['invalidate=1', ...(isRead(job) ? [] : ['end_fsync=1'])]),
    'percentile_list=50:99',
  ]
  const sections = order.flatMap(({ who, guestDir }, n) => [
    `[${n}-${who}]`,
    'stonewall',
    `filename=${guestDir}/${FILE}`,
  ])
  return `${[...lines, ...sections].join('\n')}\n`
}

/** Returns the streams of the sections, in order. Throws if a section is missing or failed. */
export function parseOutput(text: string, sections: number): FioStream[] {
  // fio writes notes before its JSON.
  const { jobs } = JSON.parse(text.slice(text.indexOf('{'))) as FioOutput
  const failed = jobs.find(({ error }) => error !== 0)
  if (failed !== undefined) throw new Error(`fio: ${failed.jobname} failed with error ${failed.error}`)
  if (jobs.length !== sections) throw new Error(`fio: ${jobs.length} results for ${sections} runs`)
  return jobs.map(({ read, write }) => (read.total_ios > 0 ? read : write))
}

function toSample({ iops, bw_bytes, total_ios, clat_ns }: FioStream, large: boolean): Sample {
  return {
    rate: large ? bw_bytes / 1e6 : iops,
    operations: total_ios,
    guestUs: (clat_ns.percentile?.['50.000000'] ?? 0) / 1000,
  }
}

function isRead({ rw }: FioJob): boolean {
  return rw === 'read' || rw === 'randread'
}

/** The host writes the file, so that its page cache holds it for both sides alike. */
function writeDataFile({ hostDir }: Side): void {
  const path = join(hostDir, FILE)
  if (statSync(path, { throwIfNoEntry: false })?.size === FILE_MIB * MIB) return
  const fd = openSync(path, 'w')
  try {
    for (let n = 0; n < FILE_MIB; n++) writeSync(fd, randomFillSync(Buffer.alloc(MIB)))
  } finally {
    closeSync(fd)
  }
}

import { LATENCY_BUCKETS, type LatencyCounts, latencyBoundUs } from 'virtio-fs-ts/protocol'
import type { ReportedShare } from '../control/share-reports.js'
import type { ShareUse } from '../passthrough/passthrough-file-system.js'
import type { ShareFigures } from '../share/share-figures.js'
import type { QuotaReport } from '../share/share-limits.js'
import type { Family, Labels, Sample } from './exposition.js'

const PREFIX = 'virtiofsd_ts_'

/** The bounds of the histogram in microseconds: powers of two up to 16.8 s. Each is a bound of a bucket, too. */
const BOUNDS_US = Array.from({ length: 25 }, (_, power) => 2 ** power)
const US_PER_SECOND = 1_000_000

/** The activity of the shares of this process, and what they hold. */
export function shareFamilies(shares: readonly ReportedShare[]): readonly Family[] {
  const each = (samplesOf: (share: ReportedShare, labels: Labels) => readonly Sample[]): readonly Sample[] =>
    shares.flatMap((share) => samplesOf(share, { share: share.name }))
  const family = (name: string, type: Family['type'], help: string, samples: readonly Sample[]): Family => ({
    name: PREFIX + name,
    type,
    help,
    samples,
  })
  const always = (
    name: string,
    type: 'counter' | 'gauge',
    help: string,
    value: (share: ReportedShare) => number,
  ) =>
    family(
      name,
      type,
      help,
      each((share, labels) => [{ labels, value: value(share) }]),
    )
  /** Figures that only the share's thread knows are left out while it does not answer. */
  const present = (
    name: string,
    type: 'counter' | 'gauge',
    help: string,
    value: (figures: ShareFigures) => number,
  ) =>
    family(
      name,
      type,
      help,
      each(({ figures }, labels) => (figures === undefined ? [] : [{ labels, value: value(figures) }])),
    )
  const used = (name: string, help: string, value: (use: ShareUse) => number) =>
    family(
      name,
      'gauge',
      help,
      each(({ figures }, labels) =>
        figures?.use === undefined ? [] : [{ labels, value: value(figures.use) }],
      ),
    )
  const held = (name: string, help: string, value: (quota: QuotaReport) => number | 'none') =>
    family(
      name,
      'gauge',
      help,
      each(({ figures }, labels) => {
        const quota = figures?.limits.quota
        const number = quota === undefined ? 'none' : value(quota)
        return number === 'none' ? [] : [{ labels, value: number }]
      }),
    )
  const byOpcode = (
    name: string,
    help: string,
    counts: (share: ReportedShare) => Readonly<Record<string, number>>,
  ) =>
    family(
      name,
      'counter',
      help,
      each((share, labels) =>
        Object.entries(counts(share)).map(([opcode, value]) => ({ labels: { ...labels, opcode }, value })),
      ),
    )
  return [
    family(
      'share_info',
      'gauge',
      'What a share serves; always 1.',
      each(({ directory }, labels) => [{ labels: { ...labels, directory }, value: 1 }]),
    ),
    always(
      'share_failed',
      'gauge',
      '1 if the share has ended by an error and none listens in its place.',
      ({ state }) => Number(state === 'failed'),
    ),
    always(
      'share_answers',
      'gauge',
      "1 if the share's thread answered, 0 if it waits for the host's file system or has failed.",
      ({ state }) => Number(state === 'answers'),
    ),
    present('front_end_connected', 'gauge', '1 while a front-end is connected.', (figures) =>
      Number(figures.connected),
    ),
    present('guest_mounted', 'gauge', '1 while a guest has mounted the share.', (figures) =>
      Number(figures.mounted),
    ),
    byOpcode('requests', 'Requests of the guest.', ({ counts }) => counts.requests),
    byOpcode(
      'request_errors',
      'Replies with an error, such as ENOENT of a lookup.',
      ({ counts }) => counts.errors,
    ),
    family(
      'request_duration_seconds',
      'histogram',
      'Time from taking a request to its reply, waits for limits included.',
      each(({ latencies }, labels) =>
        latencies.flatMap((latency) => histogramOf(latency, { ...labels, opcode: latency.opcode })),
      ),
    ),
    always('read_bytes', 'counter', 'Bytes that the guest read.', ({ bytes }) => bytes.read),
    always('written_bytes', 'counter', 'Bytes that the guest wrote.', ({ bytes }) => bytes.written),
    always(
      'copied_bytes',
      'counter',
      'Bytes copied within the share for the guest.',
      ({ bytes }) => bytes.copied,
    ),
    present('requests_in_flight', 'gauge', 'Requests taken and not answered.', (figures) => figures.inFlight),
    present(
      'requests_queued',
      'gauge',
      'Requests on the rings that were not taken.',
      (figures) => figures.onRings,
    ),
    used('inodes', 'Inodes that the guest holds.', (use) => use.inodes),
    used('inodes_limit', 'Inodes that it may hold.', (use) => use.inodeLimit),
    used('open_files', 'Files that the guest has open.', (use) => use.files),
    used('open_directories', 'Directories that the guest has open.', (use) => use.directories),
    used('descriptors', 'File descriptors that the share uses for its guest.', (use) => use.descriptors),
    used('descriptors_limit', 'File descriptors that it may use.', (use) => use.descriptorLimit),
    used('lock_waiters', 'Processes of the guest that wait for a lock.', (use) => use.lockWaiters),
    present(
      'faults_applied',
      'counter',
      'Requests that faults were applied to.',
      (figures) => figures.faultsApplied,
    ),
    present('limited_requests', 'gauge', 'Requests that wait for a limit.', ({ limits }) => limits.waiting),
    present('limit_holds', 'counter', 'Requests that had to wait for a limit.', ({ limits }) => limits.held),
    present(
      'limit_wait_seconds',
      'counter',
      'Time that requests waited for limits.',
      ({ limits }) => limits.heldSeconds,
    ),
    held('quota_used_bytes', 'Bytes that the files of the share occupy.', (quota) => quota.usedBytes),
    held('quota_bytes', 'Bytes that they may occupy.', (quota) => quota.bytes),
    held('quota_used_inodes', 'Files and directories that the share holds.', (quota) => quota.usedInodes),
    held('quota_inodes', 'Files and directories that it may hold.', (quota) => quota.inodes),
  ]
}

function histogramOf({ buckets, count, sumMs }: LatencyCounts, labels: Labels): readonly Sample[] {
  const samples: Sample[] = []
  let bucket = 0
  let below = 0
  for (const boundUs of BOUNDS_US) {
    while (bucket < LATENCY_BUCKETS && latencyBoundUs(bucket) <= boundUs) below += buckets[bucket++] ?? 0
    samples.push({ labels: { ...labels, le: `${boundUs / US_PER_SECOND}` }, value: below, suffix: '_bucket' })
  }
  return [
    ...samples,
    { labels: { ...labels, le: '+Inf' }, value: count, suffix: '_bucket' },
    { labels, value: sumMs / 1000, suffix: '_sum' },
    { labels, value: count, suffix: '_count' },
  ]
}

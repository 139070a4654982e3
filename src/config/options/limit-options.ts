import { amount, type OptionSpec } from '../option-spec.js'

/** Limits of a guest; `ctl limits` changes them while the share is served. */
export const limitOptions = [
  {
    name: 'limit-iops',
    argument: 'n',
    kind: amount,
    scope: 'share',
    text: 'serve at most N requests in a second; further ones wait. N:BURST lets BURST requests pass at once after a pause, instead of a tenth of N',
  },
  {
    name: 'limit-bandwidth',
    argument: 'rate',
    kind: amount,
    scope: 'share',
    text: 'serve at most so many bytes in a second, for reads and for writes, such as 100M, or 200M/50M for two rates; RATE:BURST as above',
  },
  {
    name: 'quota-bytes',
    argument: 'bytes',
    kind: amount,
    scope: 'share',
    text: 'what the files of the share may occupy together, such as 20G: the guest gets EDQUOT, and sees it in statfs',
  },
  {
    name: 'quota-inodes',
    argument: 'n',
    kind: amount,
    scope: 'share',
    text: 'how many files and directories the share may hold',
  },
] as const satisfies readonly OptionSpec[]

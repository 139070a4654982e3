import type { CampaignResult } from './campaign.js'

/** The options of a campaign in a process of its own. */
export interface ChildOptions {
  readonly target: TargetName
  readonly messages: number
  readonly seed: number
  /** Threads that serve requests, for the target of that name. */
  readonly threads: number
  /** An empty directory of its own. */
  readonly scratch: string
  /** Where the input that runs is written: its length in 32 bits, then its bytes. */
  readonly inputPath: string
  /** Run this one input, and nothing else. */
  readonly replay?: Uint8Array | undefined
  /** Replace the corpus by a few of the inputs that ran something new, which cover all that they ran. */
  readonly keep: boolean
}

/** A line of the child's output. */
export interface ChildLine extends CampaignResult {
  readonly ended: boolean
}

export const targetNames = ['messages', 'rings', 'races', 'requests', 'threads', 'trees', 'state'] as const
export type TargetName = (typeof targetNames)[number]

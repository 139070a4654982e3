import type { CampaignResult } from './campaign.js'

/** What a campaign in a process of its own is told. */
export interface ChildOptions {
  readonly target: TargetName
  readonly messages: number
  readonly seed: number
  /** An empty directory of its own. */
  readonly scratch: string
  /** Where the input that runs is written: its length in 32 bits, then its bytes. */
  readonly inputPath: string
  /** Carry out this one input, and nothing else. */
  readonly replay?: Uint8Array | undefined
  /** Make the inputs that ran something new the corpus, as few of them as stand for all. */
  readonly keep: boolean
}

/** A line of the child's output. */
export interface ChildLine extends CampaignResult {
  readonly ended: boolean
}

export const targetNames = ['messages', 'rings', 'races', 'requests', 'trees', 'state'] as const
export type TargetName = (typeof targetNames)[number]

import { performance } from 'node:perf_hooks'
import * as native from 'virtiofsd-ts-native'
import type { OpenFile } from '../files/open-file.js'
import type { LockTable } from './lock-table.js'

const { F_UNLCK, F_WRLCK, LOCK_EX, LOCK_SH } = native.constants

/** Pause between two attempts: the first and the longest. */
const FIRST_MS = 1
const LONGEST_MS = 20

/**
 * Locks that came with the guest from another device. That device holds them until its front-end leaves, and a lock is no
 * part of a state that both could share, so they are asked for until the host gives them.
 */
export class MovedLocks {
  private readonly nodes = new Set<number>()
  private readonly files = new Set<OpenFile>()
  private dueMs = 0
  private pauseMs = FIRST_MS

  constructor(private readonly table: LockTable) {}

  addRange(nodeid: number): void {
    this.nodes.add(nodeid)
  }

  addFlock(file: OpenFile): void {
    this.files.add(file)
  }

  /** Number of files with locks that the host has not given yet. */
  private get count(): number {
    return this.nodes.size + this.files.size
  }

  progress(): void {
    if (this.count === 0) return
    const nowMs = performance.now()
    if (nowMs < this.dueMs) return
    for (const nodeid of this.nodes)
      if (this.table.of(nodeid)?.takeAgain() !== false) this.nodes.delete(nodeid)
    for (const file of this.files) {
      const operation = file.flock === F_WRLCK ? LOCK_EX : LOCK_SH
      if (file.flock === F_UNLCK || native.flock(file.fd, operation) >= 0) this.files.delete(file)
    }
    this.pauseMs = Math.min(2 * this.pauseMs, LONGEST_MS)
    this.dueMs = nowMs + this.pauseMs
  }

  /** Milliseconds until `progress` has work, or -1 for never. */
  nextDueMs(): number {
    return this.count === 0 ? -1 : Math.max(0, this.dueMs - performance.now())
  }

  /** The guest has closed a file: its flock is gone. */
  released(file: OpenFile): void {
    this.files.delete(file)
  }

  clear(): void {
    this.nodes.clear()
    this.files.clear()
    this.dueMs = 0
    this.pauseMs = FIRST_MS
  }
}

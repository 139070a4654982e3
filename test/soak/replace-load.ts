import { strict as assert } from 'node:assert'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { LiveDevice } from '../support/device/live-device.js'
import { Op, ROOT_ID } from '../support/fuse/fuse-abi.js'
import type { Call } from '../support/fuse/fuse-client.js'
import type { FuseGuest } from '../support/fuse/fuse-guest.js'
import { concat, cstring, u32, u64 } from '../support/fuse/fuse-wire.js'

const O_RDWR = 2
const O_APPEND = 0o2000
const RECORD_BYTES = 8
const IN_FLIGHT = 24
/** The most directories that are there at a time. */
const MOST_MADE = 100

/** The results of processes that replaced each other. */
export interface ReplaceReport {
  readonly replacements: number
  readonly requests: number
  /** The longest time from a request to its reply, for each replacement, in milliseconds. */
  readonly longestMs: readonly number[]
  /** What each new process has logged as its share's pause. */
  readonly pauseMs: readonly number[]
  /** Descriptors and private memory of the process that serves after each replacement. */
  readonly fds: readonly number[]
  readonly memoryKib: readonly number[]
}

/**
 * Load of many kinds, which shows lost and repeated requests: each record is appended to a file once, and each directory
 * is made once, which a second attempt would be refused.
 */
class CountedLoad {
  requests = 0
  longestMs = 0
  private readonly file
  private started = 0
  private records = 0
  private made = 0
  private removed = 0
  private stopped = false

  constructor(
    private readonly directory: string,
    private readonly fs: FuseGuest,
  ) {
    this.file = fs.create(ROOT_ID, 'records', O_RDWR)
  }

  /** Runs until `stop`, with some requests in flight at any time but the moments between two rounds. */
  async run(): Promise<void> {
    while (!this.stopped) {
      const calls = Array.from({ length: IN_FLIGHT }, () => this.start())
      const startMs = performance.now()
      for (let left = calls.length; left > 0; ) {
        if (this.fs.finishNow() === undefined) await turn()
        else left--
      }
      this.longestMs = Math.max(this.longestMs, performance.now() - startMs)
      for (const { request, reply } of calls)
        assert.equal(reply?.error, 0, `opcode ${request.opcode} failed with ${reply?.error}`)
      this.requests += calls.length
      if (this.made - this.removed > MOST_MADE - IN_FLIGHT) this.sweep()
      await turn()
    }
  }

  stop(): void {
    this.stopped = true
  }

  /** Throws if a record or a directory is missing, or there more than once. */
  check(): void {
    const bytes = readFileSync(join(this.directory, 'records'))
    assert.equal(bytes.length, this.records * RECORD_BYTES, 'as many records as requests')
    const seen = new Set<bigint>()
    for (let at = 0; at < bytes.length; at += RECORD_BYTES) seen.add(bytes.readBigUint64LE(at))
    assert.equal(seen.size, this.records, 'each record once')
    for (let n = this.removed; n < this.made; n++) assert.ok(existsSync(join(this.directory, `made-${n}`)))
    this.sweep()
    this.fs.release(this.file.nodeid, this.file.handle)
  }

  private start(): Call {
    const { fs, file } = this
    switch (this.started++ % 4) {
      case 0: {
        const data = u64(this.records++)
        const args = concat(u64(file.handle, 0), u32(data.length, 0), u64(0), u32(O_RDWR | O_APPEND, 0))
        return fs.start({ opcode: Op.WRITE, nodeid: file.nodeid, args, data, reply: { argBytes: 8 } })
      }
      case 1: {
        const args = concat(u32(0o755, 0), cstring(`made-${this.made++}`))
        return fs.start({ opcode: Op.MKDIR, nodeid: ROOT_ID, args, reply: { argBytes: 128 } })
      }
      case 2:
        return fs.start(fs.readRequest(file.nodeid, file.handle, 0n, 4096))
      default:
        return fs.start({
          opcode: Op.GETATTR,
          nodeid: file.nodeid,
          args: new Uint8Array(16),
          reply: { argBytes: 104 },
        })
    }
  }

  private sweep(): void {
    for (; this.removed < this.made; this.removed++) {
      const name = `made-${this.removed}`
      const { nodeid } = this.fs.lookup(ROOT_ID, name)
      this.fs.rmdir(ROOT_ID, name)
      // One lookup is that of MKDIR.
      this.fs.forget(nodeid, 2n)
    }
  }
}

/** Replaces the process of a device again and again while a guest works. Throws if the guest notices more than a pause. */
export async function replaceUnderLoad(
  live: LiveDevice,
  fs: FuseGuest,
  count: number,
  said: (line: string) => void = () => {},
): Promise<ReplaceReport> {
  const load = new CountedLoad(live.device.directory, fs)
  const running = load.run()
  let failure: unknown
  running.catch((error: unknown) => {
    failure = error
  })
  const report = { longestMs: [] as number[], fds: [] as number[], memoryKib: [] as number[] }
  for (let n = 0; n < count && failure === undefined; n++) {
    load.longestMs = 0
    await live.replace()
    report.longestMs.push(load.longestMs)
    report.fds.push(live.device.fdCount())
    report.memoryKib.push(live.memoryKib())
    said(`${n + 1}: longest request ${load.longestMs.toFixed(0)} ms`)
  }
  load.stop()
  await running
  load.check()
  await live.replace()
  report.fds.push(live.device.fdCount())
  const pauses = live.device.logs().flatMap(({ pauseMs }) => pauseMs ?? [])
  return { ...report, replacements: count, requests: load.requests, pauseMs: pauses }
}

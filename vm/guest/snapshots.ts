import { setTimeout as sleep } from 'node:timers/promises'
import type { Qmp } from './qmp.js'

const POLL_MS = 50
const DISK_BYTES = 2 ** 30
/** The node of the disk that snapshots are in. */
const NODE = 'snapshots'

/** The answer of query-jobs, as far as it is used here. */
interface JobStatus {
  readonly id: string
  readonly status: string
  readonly error?: string
}

/** Snapshots of a guest inside its QEMU, as `savevm` and `loadvm` make them, in a qcow2 disk that no guest sees. */
export class Snapshots {
  private nextJob = 1

  private constructor(private readonly qmp: Qmp) {}

  /** Makes the disk at `path`. */
  static async make(qmp: Qmp, path: string): Promise<Snapshots> {
    const snapshots = new Snapshots(qmp)
    await snapshots.run('blockdev-create', { options: { driver: 'file', filename: path, size: 0 } })
    await qmp.execute('blockdev-add', { driver: 'file', filename: path, 'node-name': `${NODE}-file` })
    const options = { driver: 'qcow2', file: `${NODE}-file`, size: DISK_BYTES }
    await snapshots.run('blockdev-create', { options })
    await qmp.execute('blockdev-add', { driver: 'qcow2', file: `${NODE}-file`, 'node-name': NODE })
    return snapshots
  }

  async save(tag: string): Promise<void> {
    await this.run('snapshot-save', { tag, vmstate: NODE, devices: [NODE] })
  }

  /** Rejects with QEMU's reason if a device refuses its state; the guest then stands still. */
  async load(tag: string): Promise<void> {
    await this.qmp.execute('stop')
    await this.run('snapshot-load', { tag, vmstate: NODE, devices: [NODE] })
    await this.qmp.execute('cont')
  }

  /** Runs a job to its end. */
  private async run(command: string, args: Record<string, unknown>): Promise<void> {
    const id = `job-${this.nextJob++}`
    await this.qmp.execute(command, { 'job-id': id, ...args })
    for (;;) {
      // QMP describes this answer in its schema.
      const jobs = (await this.qmp.execute('query-jobs')) as JobStatus[]
      const job = jobs.find((each) => each.id === id)
      if (job === undefined || job.status === 'concluded') {
        if (job !== undefined) await this.qmp.execute('job-dismiss', { id })
        if (job?.error !== undefined) throw new Error(`QMP ${command}: ${job.error}`)
        return
      }
      await sleep(POLL_MS)
    }
  }
}

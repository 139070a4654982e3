import { strict as assert } from 'node:assert'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Guest, RunningCommand } from '../../vm/guest/guest.js'
import { hashOf } from '../support/host/real-guest.js'

const PROCESSES = 3
const WHERE = '/soak'
export const TAG = 'soak'
/** The time that a round may take in addition: a guest without KVM writes back slowly. */
const GRACE_MS = 120_000

/** A file that a round left, as the model of its writer describes it. */
interface Left {
  readonly path: string
  readonly lenBytes: number
  readonly sum: string
}

/** One run of vm/guest/programs/file-soak.c in a directory of its own, and the files that it has to leave. */
export class GuestRound {
  /** Under the share. */
  readonly directory: string
  steps = 0
  /** Calls that met an injected error and were made again. */
  retries = 0
  private readonly running: RunningCommand
  private readonly left: Left[] = []

  /** `where`: the share in the guest. */
  constructor(guest: Guest, number: number, seed: number, seconds: number, where = WHERE) {
    this.directory = `round-${number}`
    const path = `${where}/${this.directory}`
    this.running = guest.spawn(`file-soak ${path} ${seed} ${PROCESSES} ${seconds}`, {
      timeoutMs: 1000 * seconds + GRACE_MS,
    })
  }

  /** Waits until it has verified everything itself. Throws at a mismatch. */
  async finish(): Promise<void> {
    const { status, stdout, stderr } = await this.running.result
    assert.equal(status, 0, `in the guest: ${stderr.toString()}`)
    for (const line of stdout.toString().trim().split('\n')) {
      const [path = '', second, third = '', fourth] = line.split(' ')
      if (path === 'steps') {
        this.steps += Number(second)
        this.retries += Number(fourth)
      } else this.left.push({ path, lenBytes: Number(second), sum: third })
    }
  }

  /**
   * Checks on the host that exactly these files are there, with the right contents. Returns the number of bytes
   * compared.
   */
  checkOnHost(share: string): number {
    const directory = join(share, this.directory)
    const found = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    )
    assert.equal(found.length, this.left.length, 'files on the host')
    for (const { path, lenBytes, sum } of this.left) {
      const bytes = readFileSync(join(directory, path))
      assert.equal(bytes.length, lenBytes, path)
      assert.equal(sumOf(bytes), sum, path)
    }
    return this.left.reduce((bytes, { lenBytes }) => bytes + lenBytes, 0)
  }

  /** Checks the files in a guest that has cached nothing of them. */
  async checkInGuest(guest: Guest, share: string): Promise<void> {
    const sums = await guest.output(`cd ${WHERE}/${this.directory} && sha256sum */*`, { timeoutMs: GRACE_MS })
    const lines = sums.trim().split('\n').sort()
    const onHost = this.left.map(({ path }) => `${hashOf(join(share, this.directory, path))}  ${path}`).sort()
    assert.deepEqual(lines, onHost)
  }
}

/** FNV-1a, 32 bits, as the program in the guest makes it. */
function sumOf(bytes: Uint8Array): string {
  let sum = 0x811c9dc5
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193)
  return (sum >>> 0).toString(16).padStart(8, '0')
}

export async function mountShare(guest: Guest): Promise<void> {
  await guest.mount(TAG, WHERE)
}

export async function unmountShare(guest: Guest): Promise<void> {
  await guest.output(`umount ${WHERE}`, { timeoutMs: GRACE_MS })
}

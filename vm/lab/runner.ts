import { FUSE_WRITE_CACHE, Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import { requestLine } from '../../src/commands/trace-line.js'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import { GuestError } from '../guest/guest.js'
import type { LabCase, Observation } from './case.js'
import type { GuestFacts } from './kernel-rules.js'
import { type KernelChoice, LabGuest } from './lab-guest.js'
import { OPTION_SETS, type ShareName } from './option-sets.js'
import { type Cell, judge, type KernelResult, type TimelineRequest } from './result.js'
import { type Phase, Scene } from './scene.js'

/** A timeline of more requests shows nothing. */
const TIMELINE_REQUESTS = 600
const TIMELINE_OPCODES = new Set<number>([
  Opcode.OPEN,
  Opcode.READ,
  Opcode.WRITE,
  Opcode.FSYNC,
  Opcode.RELEASE,
])

/** Who hears how it goes. */
export interface RunListener {
  booted(lab: LabGuest): void
  begun(labCase: LabCase, share: ShareName): void
  ended(cell: Cell): void
}

export interface RunOptions {
  /** Apply the rules of this minor version of FUSE instead of the guest's own. */
  judgeAs?: number | undefined
}

/** Runs cases on one kernel, each on its shares. A guest that does not survive a case is replaced for the next. */
export async function runKernel(
  choice: KernelChoice,
  cases: readonly LabCase[],
  listener: RunListener,
  { judgeAs }: RunOptions = {},
): Promise<KernelResult> {
  const startMs = performance.now()
  const sets = OPTION_SETS.filter(({ name }) => cases.some(({ shares }) => shares.includes(name)))
  const boot = () => LabGuest.boot(choice, sets)
  const cells: Cell[] = []
  let lab = await boot()
  try {
    listener.booted(lab)
    const { versions, guest } = lab
    for (const labCase of cases) {
      for (const share of labCase.shares) {
        listener.begun(labCase, share)
        const cell = await runCell(lab, labCase, share, judgeAs)
        cells.push(cell)
        listener.ended(cell)
        if (await lab.isAlive()) continue
        await lab.stop()
        lab = await boot()
      }
    }
    return {
      kernel: choice.kernel,
      ...versions,
      judgedAs: judgeAs,
      accelerator: guest.accelerator,
      bootMs: guest.bootMs,
      ms: performance.now() - startMs,
      cells,
    }
  } finally {
    await lab.stop()
  }
}

async function runCell(
  lab: LabGuest,
  labCase: LabCase,
  share: ShareName,
  judgeAs: number | undefined,
): Promise<Cell> {
  const own = lab.factsOf(share)
  const facts: GuestFacts = judgeAs === undefined ? own : { ...own, minor: judgeAs }
  const expected = labCase.expected(facts)
  const about = { case: labCase.name, share, expected }
  const nothing = { phases: [], requests: [], trouble: [], trace: undefined }
  if (expected === undefined) {
    return {
      ...about,
      ...nothing,
      observed: undefined,
      evidence: '',
      verdict: judge(undefined, undefined, []),
      ms: 0,
    }
  }
  const startMs = performance.now()
  const scene = new Scene(lab, share, labCase.name)
  await lab.device.startTrace(share)
  const { observed, evidence } = await observe(labCase, scene)
  const trouble = await lab.takeKernelTrouble().catch((error: Error) => [error.message])
  // A device that has ended has written all of its trace.
  await lab.device.endTrace(share).catch(() => {})
  const verdict = judge(expected, observed, trouble)
  const requests = lab.device.readTrace(share)
  const epochMs = performance.timeOrigin + startMs
  return {
    ...about,
    observed,
    evidence,
    verdict,
    ms: performance.now() - startMs,
    phases: scene.phases.map((phase): Phase => ({ ...phase, atMs: phase.atMs - epochMs })),
    requests: timelineOf(requests, scene.file(), epochMs),
    trouble,
    trace: verdict === 'unexpected' ? requests.map(requestLine) : undefined,
  }
}

/** What went wrong is an observation too: no rule expects it. */
async function observe(labCase: LabCase, scene: Scene): Promise<Observation> {
  try {
    return await labCase.run(scene)
  } catch (error) {
    const { message } = error as Error
    // The console that a guest's end brings along is told as trouble of its kernel.
    return { observed: 'failed', evidence: error instanceof GuestError ? message.split('\n')[0]! : message }
  } finally {
    await scene.leave()
  }
}

/** Those on the files of a case. */
function timelineOf(requests: readonly TimedRequest[], file: string, startMs: number): TimelineRequest[] {
  const shown = requests.filter(
    ({ request: { opcode, path } }) => TIMELINE_OPCODES.has(opcode) && path?.startsWith(file) === true,
  )
  if (shown.length > TIMELINE_REQUESTS) return []
  return shown.map(({ request, epochMs }) => ({
    opcode: opcodeName(request.opcode),
    path: request.path ?? '',
    fromMs: epochMs - startMs,
    toMs: epochMs - startMs + request.latencyUs / 1000,
    offsetBytes: request.offsetBytes,
    sizeBytes: request.sizeBytes,
    cached: request.opcode === Opcode.WRITE && (request.detailFlags & FUSE_WRITE_CACHE) !== 0,
    error: request.error,
  }))
}

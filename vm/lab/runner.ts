import { FUSE_WRITE_CACHE, Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import { requestLine } from '../../src/commands/trace-line.js'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import { NoAnswer } from '../guest/conversation.js'
import { GuestError } from '../guest/guest.js'
import type { LabCase, Observation } from './case.js'
import type { Expectations } from './expectations.js'
import { stacksOf } from './hung-guest.js'
import { type KernelChoice, LabGuest } from './lab-guest.js'
import { OPTION_SETS, type ShareName } from './option-sets.js'
import { streamOf } from './request-stream.js'
import { type Cell, judge, type KernelResult, type TimelineRequest } from './result.js'
import { type Phase, Scene } from './scene.js'
import { Stuck } from './writers.js'

/** Most requests in a timeline: a longer one is unreadable. */
const TIMELINE_REQUESTS = 600
const TIMELINE_OPCODES = new Set<number>([
  Opcode.OPEN,
  Opcode.READ,
  Opcode.WRITE,
  Opcode.FSYNC,
  Opcode.RELEASE,
])

/** Gets the progress of a run. */
export interface RunListener {
  booted(lab: LabGuest): void
  begun(labCase: LabCase, share: ShareName): void
  /** `kernel` has all cells so far. */
  ended(cell: Cell, kernel: KernelResult): void
}

export interface RunOptions {
  /** Selects shares by name. */
  selects: (share: ShareName) => boolean
  expectations: Expectations
}

/** One case on one share. */
interface Task {
  readonly labCase: LabCase
  readonly share: ShareName
}

/** Runs cases on one kernel, each on its shares. Replaces a guest that a case has broken. */
export async function runKernel(
  choice: KernelChoice,
  cases: readonly LabCase[],
  listener: RunListener,
  { selects, expectations }: RunOptions,
): Promise<KernelResult> {
  const startMs = performance.now()
  const tasks = cases.flatMap((labCase): Task[] =>
    labCase.shares.filter(selects).map((share) => ({ labCase, share })),
  )
  const sets = OPTION_SETS.filter(({ name }) => tasks.some(({ share }) => share === name))
  const programs = [...new Set(tasks.flatMap(({ labCase }) => labCase.programs ?? []))]
  const boot = () => LabGuest.boot(choice, sets, programs)
  const cells: Cell[] = []
  let lab = await boot()
  const { versions, guest } = lab
  const resultSoFar = (isComplete: boolean): KernelResult => ({
    kernel: choice.kernel,
    ...versions,
    judgedAs: expectations.source,
    accelerator: guest.accelerator,
    bootMs: guest.bootMs,
    ms: performance.now() - startMs,
    isComplete,
    cells,
  })
  try {
    listener.booted(lab)
    for (const { labCase, share } of tasks) {
      listener.begun(labCase, share)
      const cell = await runCell(lab, labCase, share, expectations)
      cells.push(cell)
      listener.ended(cell, resultSoFar(false))
      if (await lab.isAlive()) continue
      await lab.stop()
      lab = await boot()
    }
    return resultSoFar(true)
  } finally {
    await lab.stop()
  }
}

/** Runs a case on a share of a booted guest. A suffix for its files lets the case run there again. */
export async function runCell(
  lab: LabGuest,
  labCase: LabCase,
  share: ShareName,
  expectations: Expectations,
  suffix = '',
): Promise<Cell> {
  const expected = expectations.of(labCase, lab.factsOf(share))
  const about = { case: labCase.name, share, expected }
  if (expected === undefined) return { ...about, ...NOTHING, verdict: judge(undefined, undefined, []) }
  const startMs = performance.now()
  const scene = new Scene(lab, share, `${labCase.name}${suffix}`)
  await lab.device.startTrace(share)
  const seen = await observe(labCase, scene)
  // A device that has ended has written its whole trace.
  await lab.device.endTrace(share).catch(() => {})
  const requests = lab.device.readTrace(share)
  const { observed, evidence } = await addFaults(seen, scene, requests)
  const told = await lab.takeKernelTrouble().catch((error: Error) => error.message.split('\n'))
  const trouble = [...told, ...seen.stacks]
  const verdict = judge(expected, observed, trouble)
  const epochMs = performance.timeOrigin + startMs
  return {
    ...about,
    observed,
    evidence,
    verdict,
    ms: performance.now() - startMs,
    phases: scene.phases.map((phase): Phase => ({ ...phase, atMs: phase.atMs - epochMs })),
    requests: timelineOf(requests, scene.file(), epochMs),
    stream: labCase.races ? undefined : streamOf(requests, scene.file(), scene.races.all),
    trouble,
    trace: verdict === 'unexpected' ? requests.map(requestLine) : undefined,
  }
}

const NOTHING = {
  observed: undefined,
  evidence: '',
  ms: 0,
  phases: [],
  requests: [],
  stream: undefined,
  trouble: [],
  trace: undefined,
} as const

type Seen = Observation & { stacks: readonly string[] }

/** Runs a case. A failure is an observation too, and no rule expects it. */
async function observe(labCase: LabCase, scene: Scene): Promise<Seen> {
  try {
    return { ...(await labCase.run(scene)), stacks: [] }
  } catch (error) {
    const { message } = error as Error
    // The console output of a guest that ended is reported as trouble of its kernel.
    if (error instanceof GuestError) return { ...nameEnd(message), stacks: [] }
    if (!(error instanceof NoAnswer || error instanceof Stuck))
      return { observed: 'failed', evidence: message, stacks: [] }
    return { observed: 'hangs', evidence: message, stacks: await stacksOf(scene.guest) }
  } finally {
    await scene.leave()
  }
}

function nameEnd(message: string): Observation {
  const what = message.split('\n')[0]!
  if (/restarted by itself/.test(what)) return { observed: 'panics', evidence: what }
  return { observed: /stopped answering|no end after/.test(what) ? 'hangs' : 'failed', evidence: what }
}

/** Adds the faults of the files to the observation, so that they are compared too. */
async function addFaults(
  { observed, evidence }: Observation,
  scene: Scene,
  requests: readonly TimedRequest[],
): Promise<Observation> {
  if (observed === undefined || BROKEN.has(observed)) return { observed, evidence }
  const faults = await scene.faults(requests).catch((error: Error) => [error.message.split('\n')[0]!])
  return { observed: [observed, ...faults].join('; '), evidence }
}

/** After these outcomes, files are not checked. */
const BROKEN: ReadonlySet<string> = new Set(['failed', 'hangs', 'panics'])

/** The requests on the files of a case. */
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

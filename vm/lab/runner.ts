import { FUSE_WRITE_CACHE, Opcode, opcodeName } from 'virtio-fs-ts/protocol'
import { requestLine } from '../../src/commands/trace-line.js'
import type { TimedRequest } from '../../src/inspect/trace-reader.js'
import { NoAnswer } from '../guest/conversation.js'
import { GuestError } from '../guest/guest.js'
import { stacksOf } from '../guest/hung-guest.js'
import type { LabCase, Observation } from './case.js'
import type { Expectations } from './expectations.js'
import { type GuestSide, joinEvents } from './guest-events.js'
import { type KernelChoice, LabGuest } from './lab-guest.js'
import { OPTION_SETS, type ShareName } from './option-sets.js'
import { shellWord } from './repro.js'
import { streamOf } from './request-stream.js'
import { type Cell, judge, type KernelResult, type Recording, type TimelineRequest } from './result.js'
import { type Phase, Scene } from './scene.js'
import { NeedsOwnDevice } from './servers/lab-server.js'
import { transitionsIn } from './transitions.js'
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
  const needed = new Set(tasks.flatMap(({ labCase: { beside }, share }) => [share, beside]))
  const sets = OPTION_SETS.filter(({ name }) => needed.has(name))
  const programs = [...new Set(tasks.flatMap(({ labCase }) => labCase.programs ?? []))]
  const server = choice.server ?? 'virtiofsd-ts'
  const boot = () => LabGuest.boot(choice, sets, programs)
  const cells: Cell[] = []
  let lab = await boot()
  const { versions, guest, trace } = lab
  const resultSoFar = (isComplete: boolean): KernelResult => ({
    kernel: choice.kernel,
    server,
    ...versions,
    judgedAs: expectations.source,
    hasEvents: trace.hasEvents,
    accelerator: guest.accelerator,
    bootMs: guest.bootMs,
    ms: performance.now() - startMs,
    isComplete,
    cells,
    transitions: transitionsIn(cells),
  })
  try {
    listener.booted(lab)
    for (const { labCase, share } of tasks) {
      listener.begun(labCase, share)
      const cell = canRun(lab, labCase, share)
        ? await runCell(lab, labCase, share, expectations)
        : needsOwnDevice(labCase, share)
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

/** Returns true if the guest has the share, and what the case needs besides. */
export function canRun({ device }: LabGuest, { needs, beside }: LabCase, share: ShareName): boolean {
  const has = (wanted: ShareName): boolean => device.sets.some(({ name }) => name === wanted)
  return has(share) && (beside === undefined || has(beside)) && (needs === undefined || device.isVirtio)
}

function needsOwnDevice({ name }: LabCase, share: ShareName): Cell {
  const verdict = judge(undefined, undefined, [])
  return { ...NOTHING, case: name, share, expected: undefined, needs: 'our device', verdict }
}

/** Runs a case on a share of a booted guest. A suffix for its files lets the case run there again. */
export async function runCell(
  lab: LabGuest,
  labCase: LabCase,
  share: ShareName,
  expectations: Expectations,
  suffix = '',
): Promise<Cell> {
  const startMs = performance.now()
  const scene = new Scene(lab, share, `${labCase.name}${suffix}`, labCase.beside)
  const unprobed = await probe(labCase, scene)
  const expected = expectations.of(labCase, scene.facts)
  const about = { case: labCase.name, share, expected }
  if (expected === undefined) return { ...about, ...NOTHING, verdict: judge(undefined, undefined, []) }
  await lab.device.startTrace(share)
  const seen = unprobed ?? (await observe(labCase, scene))
  const ended = await lab.device.endTrace(share).catch((error: Error) => error)
  const events = await lab.trace.events()
  const { observed, evidence, needs } = await addFaults(seen, scene, ended)
  const traced = ended instanceof Error ? undefined : ended
  const requests = traced ?? []
  const told = await lab.takeKernelTrouble().catch((error: Error) => error.message.split('\n'))
  const trouble = [...scene.unallowed(told), ...seen.stacks]
  const verdict = judge(expected, observed, trouble)
  const epochMs = performance.timeOrigin + startMs
  return {
    ...about,
    ...(needs === undefined ? {} : { needs }),
    observed,
    evidence,
    verdict,
    ms: performance.now() - startMs,
    phases: scene.phases.map((phase): Phase => ({ ...phase, atMs: phase.atMs - epochMs })),
    requests: timelineOf(
      requests,
      joinEvents(requests, events, await lab.trace.connectionOf(`/${share}`)),
      scene.file(),
      epochMs,
    ),
    stream:
      labCase.races || traced === undefined ? undefined : streamOf(traced, scene.file(), scene.races.all),
    trouble,
    recording: verdict === 'unexpected' ? recordingOf(lab, scene) : undefined,
    trace: verdict === 'unexpected' ? requests.map(requestLine) : undefined,
  }
}

function recordingOf({ guest, device }: LabGuest, { steps }: Scene): Recording {
  const words = (line: readonly string[]): string => line.map(shellWord).join(' ')
  return { qemu: words(guest.commandLine), servers: device.commandLines.map(words), steps }
}

const NOTHING = {
  observed: undefined,
  evidence: '',
  ms: 0,
  phases: [],
  requests: [],
  stream: undefined,
  trouble: [],
  recording: undefined,
  trace: undefined,
} as const

type Seen = Observation & { stacks: readonly string[]; needs?: Cell['needs'] }

/** Lets a case find out facts. Returns what was seen if that fails. */
async function probe(labCase: LabCase, scene: Scene): Promise<Seen | undefined> {
  if (labCase.probe === undefined) return undefined
  try {
    scene.learn(await labCase.probe(scene))
    return undefined
  } catch (error) {
    await scene.leave()
    if (error instanceof NeedsOwnDevice) return { ...NEEDS, stacks: [] }
    return { observed: 'failed', evidence: `its probe: ${(error as Error).message}`, stacks: [] }
  }
}

/** Runs a case. A failure is an observation too, and no rule expects it. */
async function observe(labCase: LabCase, scene: Scene): Promise<Seen> {
  try {
    return { ...(await labCase.run(scene)), stacks: [] }
  } catch (error) {
    const { message } = error as Error
    if (error instanceof NeedsOwnDevice) return { ...NEEDS, stacks: [] }
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
  { observed, evidence, needs }: Pick<Seen, 'observed' | 'evidence' | 'needs'>,
  scene: Scene,
  traced: readonly TimedRequest[] | Error | undefined,
): Promise<Pick<Seen, 'observed' | 'evidence' | 'needs'>> {
  if (needs !== undefined || observed === undefined || BROKEN.has(observed))
    return { observed, evidence, ...(needs === undefined ? {} : { needs }) }
  try {
    // Without the requests, nothing can be said of them.
    if (traced instanceof Error) throw traced
    return { observed: [observed, ...(await scene.faults(traced))].join('; '), evidence }
  } catch (error) {
    if (error instanceof NeedsOwnDevice) return NEEDS
    return { observed: [observed, (error as Error).message.split('\n')[0]!].join('; '), evidence }
  }
}

const NEEDS = { observed: undefined, evidence: 'needs our device', needs: 'our device' } as const

/** After these outcomes, files are not checked. */
const BROKEN: ReadonlySet<string> = new Set(['failed', 'hangs', 'panics'])

/** The requests on the files of a case. */
function timelineOf(
  requests: readonly TimedRequest[],
  guestSides: ReadonlyMap<TimedRequest, GuestSide>,
  file: string,
  startMs: number,
): TimelineRequest[] {
  const shown = requests.filter(
    ({ request: { opcode, path } }) => TIMELINE_OPCODES.has(opcode) && path?.startsWith(file) === true,
  )
  if (shown.length > TIMELINE_REQUESTS) return []
  return shown.map((timed) => {
    const { request, epochMs } = timed
    const side = guestSides.get(timed)
    return {
      opcode: opcodeName(request.opcode),
      path: request.path ?? '',
      fromMs: epochMs - startMs,
      toMs: epochMs - startMs + request.latencyUs / 1000,
      offsetBytes: request.offsetBytes,
      sizeBytes: request.sizeBytes,
      cached: request.opcode === Opcode.WRITE && (request.detailFlags & FUSE_WRITE_CACHE) !== 0,
      error: request.error,
      ...(side === undefined
        ? {}
        : { guestFromMs: side.sentMs - startMs, guestToMs: side.endedMs - startMs }),
    }
  })
}

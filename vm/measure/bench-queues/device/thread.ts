/** A thread of the device: the first has the connection and the first two queues, each other one a queue. */
import { type MessagePort, workerData } from 'node:worker_threads'
import { Backend } from 'vhost-user-ts'
import { Counters, type InitAgreement } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import { OpenRules } from '../../../../src/io-mode/open-rules.js'
import { prepareOwnThread } from '../../../../src/passthrough/own-thread.js'
import { makeFsDevice } from '../../../../src/share/make-fs-device.js'
import type { ShareConfig } from '../../../../src/share/share-config.js'
import type { SplitVirtqueue } from '../../../../src/vhost-user/rings/split-virtqueue.js'
import type { Vring } from '../../../../src/vhost-user/rings/vring.js'
import type { BackendSession } from '../../../../src/vhost-user/session/backend-session.js'
import type { HandedConnection } from '../../../../src/vhost-user/session/handed-session.js'
import type { SessionFeatures } from '../../../../src/vhost-user/session/session-features.js'
import { SharedTables, type TableMemory } from './shared-tables.js'

export interface ThreadStart {
  readonly thread: number
  readonly config: ShareConfig
  readonly procFd: number
  readonly listenFd: number
  /** Undefined: tables of the thread's own. */
  readonly memory: TableMemory | undefined
  /** To each other thread; or to the first. */
  readonly ports: readonly MessagePort[]
}

interface Handed {
  readonly connection: HandedConnection
  readonly agreement: InitAgreement
}

/** The first queue that belongs to another thread. */
const FIRST_GIVEN = 2

const { thread, config, procFd, listenFd, memory, ports } = workerData as ThreadStart
prepareOwnThread(procFd)
const tables = memory === undefined ? undefined : new SharedTables(memory, thread)
const given: Vring[] = []
const observer = {
  agreed: (agreement: InitAgreement) => give(agreement),
  fault: (kind: string, fields: object) => process.stderr.write(`${kind} ${JSON.stringify(fields)}\n`),
}
const { device, session } = makeFsDevice(
  config,
  { root: config.directory, procFd, fdLimit: 500_000, counters: new Counters(), tables: tables?.make },
  new OpenRules(config, config.rules),
  observer,
)
if (tables !== undefined) {
  const { inodes } = tables
  device.process = (chain) => {
    inodes.enter()
    return session.process(chain)
  }
  const progress = device.progress.bind(device)
  device.progress = (nowMs) => {
    const worked = progress(nowMs)
    inodes.leave()
    return worked
  }
}
const backend = new Backend(device, { pollUs: config.pollUs })
if (thread === 0) serve()
else
  ports[0]!.once('message', ({ connection, agreement }: Handed) =>
    backend.goOn(connection, () => session.resume(agreement)),
  )

function serve(): void {
  if (ports.length > 0) {
    const { rings } = backend
    const start = rings.ringStarted.bind(rings)
    rings.ringStarted = (vring: Vring, queue: SplitVirtqueue) => {
      if (vring.index < FIRST_GIVEN) start(vring, queue)
      else given.push(vring)
    }
    const stop = rings.ringStopping.bind(rings)
    rings.ringStopping = (vring: Vring, queue: SplitVirtqueue) => {
      if (vring.index < FIRST_GIVEN) stop(vring, queue)
    }
  }
  backend.serve(native.unixAccept(listenFd))
}

/** Hands the queues out when the guest's session has begun. */
function give(agreement: InitAgreement): void {
  if (thread !== 0) return
  const { session: known } = backend as unknown as { session: BackendSession }
  for (const [n, port] of ports.entries()) {
    const vring = given[n]
    const handed = vring?.handed
    if (handed === undefined) continue
    const { features } = known as unknown as { features: SessionFeatures }
    const regions = known.rings.memory.kept
    const pair = new Int32Array(2)
    native.unixPair(pair)
    const connection: HandedConnection = {
      session: {
        ...features.handed,
        received: '',
        receivedFds: 0,
        backchannel: false,
        regions: regions.map(({ fd: _, ...region }) => region),
        rings: [handed.ring],
      },
      fds: [pair[0]!, ...[...regions.map(({ fd }) => fd), ...handed.fds].map((fd) => native.dup(fd))],
    }
    port.postMessage({ connection, agreement } satisfies Handed)
  }
}

/** The thread of one share: owns its socket, guest memory, rings and FUSE session. Blocks in one native wait. */
import { parentPort, workerData } from 'node:worker_threads'
import { Backend, FaultLog, type Logger } from 'vhost-user-ts'
import * as native from 'virtiofsd-ts-native'
import type { InitAgreement } from '../fuse/negotiation.js'
import { readOnly } from '../fuse/read-only.js'
import { reportIoModes } from '../io-mode/agreement-report.js'
import { modeHasReaddirplus } from '../io-mode/cache-policy.js'
import { OpenRules } from '../io-mode/open-rules.js'
import { PassthroughFileSystem } from '../passthrough/passthrough-file-system.js'
import { FsDevice } from './fs-device.js'
import type { LogLevel, WorkerMessage, WorkerStart } from './worker-messages.js'

const { config, listenFd, fdLimit } = workerData as WorkerStart

function tell(message: WorkerMessage): void {
  parentPort?.postMessage(message)
}

function logAt(level: LogLevel): (fields: object, text: string) => void {
  return (fields, text) => tell({ type: 'log', level, fields, text })
}

const logger: Logger = {
  debug: logAt('debug'),
  info: logAt('info'),
  warn: logAt('warn'),
  error: logAt('error'),
}
const faults = new FaultLog(logger)
const rules = new OpenRules(config, config.rules)

function agreed(agreement: InitAgreement): void {
  const report = reportIoModes(agreement, { ...config, directIo: rules.everDirect })
  logger.info({ ...report, flags: `0x${agreement.flags.toString(16)}` }, 'guest mounted the share')
}

/** New files get exactly the mode that the guest asked for; this thread's umask is its own. */
function prepareThread(): void {
  native.detachFs()
  native.umask(0)
}

function makeDevice(): FsDevice {
  const passthrough = new PassthroughFileSystem({
    directory: config.directory,
    rules,
    allowDirectIo: config.allowDirectIo,
    writeback: config.writeback,
    fdLimit,
    report: (kind, fields) => faults.warn(kind, fields),
  })
  const wishes = {
    readdirplus: config.readdirplus && modeHasReaddirplus(config.cache),
    allowMmap: config.allowMmap,
    writeback: config.writeback,
    cacheSymlinks: rules.base.attrTimeoutSec > 1,
  }
  const observer = { agreed, fault: (kind: string, fields: object) => faults.warn(kind, fields) }
  return new FsDevice(config.readonly ? readOnly(passthrough) : passthrough, wishes, observer, config.tag)
}

function serve(): void {
  prepareThread()
  const backend = new Backend(makeDevice(), { pollUs: config.pollUs, logger })
  tell({ type: 'listening' })
  do {
    const fd = native.unixAccept(listenFd)
    if (fd < 0) throw new Error(`accept failed: errno ${-fd}`)
    logger.info({}, 'front-end connected')
    backend.serve(fd)
    logger.info({}, 'front-end left')
  } while (config.keepAlive)
  tell({ type: 'ended' })
}

serve()

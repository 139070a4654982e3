import { accessSync, constants, type Stats, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, resolve } from 'node:path'
import { fsConfig } from 'virtio-fs-ts/protocol'
import { codeOf, messageOf } from '../basics/errors.js'
import { checkFaultSpec } from '../inspect/fault-spec.js'
import { parseFaultWords } from '../inspect/fault-words.js'
import {
  noRateLimits,
  parseBandwidth,
  parseIops,
  parseQuotaBytes,
  parseQuotaInodes,
  type RateLimits,
} from '../limits/rate-words.js'
import type { QuotaLimits } from '../passthrough/quota/quota-ledger.js'
import { opcodeNumbers } from '../share/command-arguments.js'
import { initFlagBits } from '../share/init-override.js'
import type { FileSystemModule } from '../share/load-file-system.js'
import type { ShareConfig } from '../share/share-config.js'
import { cacheChoices } from './cache-options.js'
import { ChosenOptions, type OptionValues } from './option-values.js'
import { posixChoices } from './posix-choices.js'
import { refusing } from './refusing.js'
import type { ShareDraft } from './share-draft.js'
import { checkedSocket } from './share-socket.js'
import { UserError } from './user-error.js'

const MIB = 1024 * 1024
const MOST_QUEUE_THREADS = 4

/** The guest needs processors, too. */
function defaultQueueThreads(): number {
  return Math.max(1, Math.min(MOST_QUEUE_THREADS, availableParallelism() >> 1))
}

/** Completes a draft with the common options and the defaults, and checks it. Throws UserError. */
export function buildShare(draft: ShareDraft, common: OptionValues): ShareConfig {
  const given = draft.values.over(common)
  const options = new ChosenOptions(given)
  return {
    ...checkedSource(options, draft),
    ...checkedSocket(options, draft),
    tag: checkedTag(options.get('tag'), draft.where('tag')),
    ...cacheChoices(given),
    cache: options.get('cache'),
    directIo: options.get('direct-io'),
    parallelDio: options.get('parallel-dio'),
    allowMmap: options.get('allow-mmap'),
    allowDirectIo: options.get('allow-direct-io'),
    preserveNoatime: options.get('preserve-noatime'),
    writeback: options.get('writeback'),
    readonly: options.get('readonly'),
    ...posixChoices(options, draft),
    migration: {
      mode: options.get('migration-mode'),
      verifyHandles: options.get('migration-verify-handles'),
      confirmPaths: options.get('migration-confirm-paths'),
      onError: options.get('migration-on-error'),
    },
    readdirplus: options.get('readdirplus'),
    rules: draft.rules,
    inspect: options.get('inspect'),
    ...disturbances(options, draft),
    unsafeFaults: options.get('unsafe-faults'),
    trace: tracePath(options.get('trace'), draft.where('trace')),
    traceBytes: options.get('trace-size') * MIB,
    rateLimits: rateLimits(options, draft),
    quota: quota(options, draft),
    pollUs: options.get('poll-us'),
    threadPoolSize: options.get('thread-pool-size'),
    queueThreads: options.get('queue-threads') ?? defaultQueueThreads(),
    ownThread: options.get('own-thread'),
    keepAlive: options.get('keep-alive'),
  }
}

/** The faults to apply and the changes to INIT. */
function disturbances(
  options: ChosenOptions,
  { where }: ShareDraft,
): Pick<ShareConfig, 'faults' | 'withhold' | 'initOverride'> {
  const unsafe = options.get('unsafe-faults')
  const names = (option: 'withhold' | 'init-on' | 'init-off') => options.get(option)?.split('+')
  const flags = (option: 'init-on' | 'init-off') => refusing(where(option), () => initFlagBits(names(option)))
  return {
    faults: options
      .get('fault')
      .map((word) => refusing(where('fault'), () => checkFaultSpec(parseFaultWords(word), unsafe))),
    withhold: refusing(where('withhold'), () => opcodeNumbers(names('withhold') ?? [])),
    initOverride: { on: flags('init-on'), off: flags('init-off'), minor: options.get('init-minor') },
  }
}

/** Any quota makes the share count its tree. */
function quota(options: ChosenOptions, { where }: ShareDraft): QuotaLimits | undefined {
  const bytes = options.get('quota-bytes')
  const inodes = options.get('quota-inodes')
  if (bytes === undefined && inodes === undefined) return undefined
  if (options.get('file-system') !== undefined)
    throw new UserError(
      `${where(bytes === undefined ? 'quota-inodes' : 'quota-bytes')}: a module counts its files itself`,
    )
  return {
    bytes: refusing(where('quota-bytes'), () => parseQuotaBytes(bytes ?? 'none')),
    inodes: refusing(where('quota-inodes'), () => parseQuotaInodes(inodes ?? 'none')),
  }
}

function rateLimits(options: ChosenOptions, { where }: ShareDraft): RateLimits {
  const iops = options.get('limit-iops')
  const bandwidth = options.get('limit-bandwidth')
  return {
    ...noRateLimits,
    ...(iops !== undefined && { iops: refusing(where('limit-iops'), () => parseIops(iops)) }),
    ...(bandwidth !== undefined && refusing(where('limit-bandwidth'), () => parseBandwidth(bandwidth))),
  }
}

/** Makes the path absolute, because the process changes its working directory. */
function tracePath(path: string | undefined, where: string): string | undefined {
  if (path === undefined) return undefined
  if (!statOf(dirname(path), where).isDirectory()) throw new UserError(`${where} ${path}: not in a directory`)
  // The trace is renamed when the next one begins, so it must be a regular file.
  if (statSync(path, { throwIfNoEntry: false })?.isFile() === false)
    throw new UserError(`${where} ${path}: exists and is no regular file`)
  return resolve(path)
}

/** The shared directory, or a module's file system. Without a directory, the module's own folder takes its place. */
function checkedSource(
  options: ChosenOptions,
  { where }: ShareDraft,
): Pick<ShareConfig, 'directory' | 'file' | 'fileSystem' | 'givesDirectory'> {
  const directory = options.get('shared-dir')
  const fileSystem = checkedModule(options.get('file-system'), where('file-system'))
  if (fileSystem === undefined)
    return { ...checkedDirectory(directory, where('shared-dir')), fileSystem, givesDirectory: true }
  const place = directory ?? dirname(fileSystem.path)
  return {
    ...checkedDirectory(place, where('shared-dir')),
    fileSystem,
    givesDirectory: directory !== undefined,
  }
}

/** `./my-fs.js?option=value`. */
function checkedModule(text: string | undefined, where: string): FileSystemModule | undefined {
  if (text === undefined) return undefined
  const [path = '', ...query] = text.split('?')
  if (!statOf(path, where, 'file').isFile()) throw new UserError(`${where} ${path}: not a file`)
  return { path: resolve(path), options: Object.fromEntries(new URLSearchParams(query.join('?'))) }
}

/** A directory, or a file that is to be alone in the share. */
function checkedDirectory(path: string | undefined, where: string): Pick<ShareConfig, 'directory' | 'file'> {
  if (path === undefined) throw new UserError(`${where} is missing: which directory is to be shared?`)
  const stat = statOf(path, where)
  if (!stat.isDirectory() && !stat.isFile())
    throw new UserError(`${where} ${path}: neither a directory nor a file`)
  if (stat.isDirectory()) expectAccess(path, where)
  const directory = resolve(path)
  return { directory, file: stat.isFile() ? basename(directory) : undefined }
}

/** Checks access now: a directory that cannot be entered can still be opened, and then every request would fail. */
function expectAccess(path: string, where: string): void {
  try {
    accessSync(path, constants.X_OK)
  } catch (error) {
    const code = codeOf(error)
    throw new UserError(`${where} ${path}: this user cannot enter it (${code})`)
  }
}

function statOf(path: string, where: string, expected: 'directory' | 'file' = 'directory'): Stats {
  try {
    return statSync(path)
  } catch (error) {
    const code = codeOf(error)
    const reason = code === 'ENOENT' ? `no such ${expected}` : `cannot be reached (${code})`
    throw new UserError(`${where} ${path}: ${reason}`)
  }
}

function checkedTag(tag: string | undefined, where: string): string | undefined {
  if (tag === undefined) return undefined
  try {
    fsConfig(tag, 1)
  } catch (error) {
    throw new UserError(`${where} '${tag}': ${messageOf(error)}`)
  }
  return tag
}

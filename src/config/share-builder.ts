import { accessSync, constants, type Stats, statSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { checkFaultSpec } from '../inspect/fault-spec.js'
import { parseFaultWords } from '../inspect/fault-words.js'
import type { CacheChoices, CacheMode, DirectIo } from '../io-mode/cache-policy.js'
import type { OpenRule } from '../io-mode/open-rules.js'
import { isRefusal, opcodeNumbers } from '../share/command-arguments.js'
import type { ShareConfig } from '../share/share-config.js'
import { fsConfig } from '../virtio-fs/fs-device.js'
import { parseInitOverride } from '../virtio-fs/init-override.js'
import { optionTable } from './option-table.js'
import { type OptionValues, readValue } from './option-values.js'
import { posixChoices } from './posix-choices.js'
import { checkedSocket } from './share-socket.js'
import { UserError } from './user-error.js'

const MIB = 1024 * 1024

/** A share as it was written down, before it is checked as a whole. */
export interface ShareDraft {
  /** What was given for it. */
  readonly values: OptionValues
  /** Where an option was given, for messages: "--cache", or "shares.toml:7: cache". */
  where(option: string): string
  readonly rules: readonly OpenRule[]
}

/** The options' defaults, as values. */
export function defaultValues(): OptionValues {
  const values: OptionValues = new Map()
  for (const spec of optionTable) {
    if (spec.default !== undefined) values.set(spec.name, readValue(spec, spec.default, spec.name))
  }
  return values
}

/** Fills a draft up with defaults and checks it. Throws UserError. */
export function buildShare(draft: ShareDraft, defaults: OptionValues): ShareConfig {
  const values = new Map([...defaults, ...draft.values])
  const text = (name: string) => values.get(name) as string | undefined
  const flag = (name: string) => values.get(name) === true
  return {
    ...checkedDirectory(text('shared-dir'), draft.where('shared-dir')),
    ...checkedSocket(values, draft),
    tag: checkedTag(text('tag'), draft.where('tag')),
    ...cacheChoices(values),
    cache: values.get('cache') as CacheMode,
    directIo: values.get('direct-io') as DirectIo,
    parallelDio: flag('parallel-dio'),
    allowMmap: flag('allow-mmap'),
    allowDirectIo: flag('allow-direct-io'),
    preserveNoatime: flag('preserve-noatime'),
    writeback: flag('writeback'),
    readonly: flag('readonly'),
    ...posixChoices(values, draft),
    readdirplus: flag('readdirplus'),
    rules: draft.rules,
    inspect: flag('inspect'),
    ...disturbances(values, draft),
    unsafeFaults: flag('unsafe-faults'),
    trace: tracePath(text('trace'), draft.where('trace')),
    traceBytes: (values.get('trace-size') as number) * MIB,
    pollUs: values.get('poll-us') as number,
    keepAlive: flag('keep-alive'),
  }
}

/** Of the options given, those that choose what the guest caches. */
export function cacheChoices(values: OptionValues): Partial<CacheChoices> {
  const choices: Partial<Record<keyof CacheChoices, unknown>> = {}
  for (const [name, field] of choiceFields) if (values.has(name)) choices[field] = values.get(name)
  return choices as Partial<CacheChoices>
}

const choiceFields: readonly (readonly [string, keyof CacheChoices])[] = [
  ['cache', 'cache'],
  ['direct-io', 'directIo'],
  ['parallel-dio', 'parallelDio'],
  ['keep-cache', 'keepCache'],
  ['noflush', 'noflush'],
  ['entry-timeout', 'entryTimeoutSec'],
  ['attr-timeout', 'attrTimeoutSec'],
  ['negative-timeout', 'negativeTimeoutSec'],
]

/** What is done to requests and to INIT on purpose. */
function disturbances(
  values: OptionValues,
  { where }: ShareDraft,
): Pick<ShareConfig, 'faults' | 'withhold' | 'initOverride'> {
  const words = (values.get('fault') ?? []) as readonly string[]
  const unsafe = values.get('unsafe-faults') === true
  const names = (option: string) => (values.get(option) as string | undefined)?.split('+')
  return {
    faults: words.map((word) =>
      refusing(where('fault'), () => checkFaultSpec(parseFaultWords(word), unsafe)),
    ),
    withhold: refusing(where('withhold'), () => opcodeNumbers(names('withhold') ?? [])),
    initOverride: refusing(where('init-on or init-off'), () =>
      parseInitOverride({ on: names('init-on'), off: names('init-off'), minor: values.get('init-minor') }),
    ),
  }
}

/** Turns what a check refuses into the user's error. */
function refusing<T>(where: string, check: () => T): T {
  try {
    return check()
  } catch (error) {
    if (!isRefusal(error)) throw error
    throw new UserError(`${where}: ${error.message}`)
  }
}

/** Made absolute: the process does not stay where it was started. */
function tracePath(path: string | undefined, where: string): string | undefined {
  if (path === undefined) return undefined
  if (!statOf(dirname(path), where).isDirectory()) throw new UserError(`${where} ${path}: not in a directory`)
  // It will be renamed when the next one begins.
  if (statSync(path, { throwIfNoEntry: false })?.isFile() === false)
    throw new UserError(`${where} ${path}: exists and is no regular file`)
  return resolve(path)
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

/** What cannot be entered can be opened all the same, and then every request of the guest would fail. */
function expectAccess(path: string, where: string): void {
  try {
    accessSync(path, constants.X_OK)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new UserError(`${where} ${path}: this user cannot enter it (${code})`)
  }
}

function statOf(path: string, where: string): Stats {
  try {
    return statSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'no such directory' : `cannot be reached (${code})`
    throw new UserError(`${where} ${path}: ${reason}`)
  }
}

function checkedTag(tag: string | undefined, where: string): string | undefined {
  if (tag === undefined) return undefined
  try {
    fsConfig(tag, 1)
  } catch (error) {
    throw new UserError(`${where} '${tag}': ${(error as Error).message}`)
  }
  return tag
}

import { configureWithPlaces, type DraftedConfiguration, type DraftedShare } from '../config/configuration.js'
import type { OptionName } from '../config/option-table.js'
import { UserError } from '../config/user-error.js'
import type { ShareConfig } from '../share/share-config.js'
import type { DescribedShare, Description, NewSettings, ProcessSettings } from './messages.js'
import { differenceOf, remedyFor } from './setting-changes.js'
import { type Helper, prepareShare, releaseSocket } from './share-changes.js'
import { keyOf } from './share-key.js'
import { optionsOfPlace } from './succession.js'

/** The difference between the running process and its configuration. */
export interface ReloadPlan {
  readonly add: readonly ShareConfig[]
  readonly remove: readonly DescribedShare[]
  readonly settings: readonly NewSettings[]
  /** For each share that changes, the options that take effect with its next mount. */
  readonly atNextMount: Readonly<Record<string, readonly OptionName[]>>
}

/** Settings of the whole process, by the option that names each: only another process has others. */
const processSettings: Readonly<Record<string, OptionName>> = {
  syslog: 'syslog',
  fileLimit: 'rlimit-nofile',
  controlSocket: 'control-socket',
  metrics: 'metrics',
  sandbox: 'sandbox',
  seccomp: 'seccomp',
  modcaps: 'modcaps',
  userMap: 'uid-map',
  groupMap: 'gid-map',
}

const keptByReplacement: readonly OptionName[] = Object.values(optionsOfPlace)

/**
 * Reads the configuration again and applies what is different. Throws UserError, with file and line, if any part of it
 * cannot be applied; then nothing has changed.
 */
export function reload(helper: Helper): object {
  const { process, given } = helper
  const description = process.describe()
  const wanted = configureWithPlaces(given)
  const { add, remove, settings, atNextMount } = planReload(description, wanted)
  const begin = addAll(helper, description, wanted, add)
  // In this order, whenever this helper is killed: a share without a socket can be removed, a socket made again.
  helper.sockets.confirm()
  for (const { config } of remove) releaseSocket(helper, config)
  process.commit({
    begin,
    remove: remove.map(({ id }) => id),
    settings,
    logLevel: wanted.configuration.logLevel,
    said: 'configuration reloaded',
  })
  return {
    added: add.map(nameOf),
    removed: remove.map(({ name }) => name),
    changed: settings.map(({ config }) => nameOf(config)),
    atNextMount,
  }
}

/** Makes the new shares; if one cannot be made, none is. */
function addAll(
  helper: Helper,
  description: Description,
  { configuration, shares }: DraftedConfiguration,
  add: readonly ShareConfig[],
): readonly number[] {
  const ids: number[] = []
  for (const config of add) {
    const n = configuration.shares.indexOf(config)
    try {
      ids.push(
        prepareShare(helper, description, { config, added: false, dangers: configuration.dangers[n] ?? [] }),
      )
    } catch (error) {
      helper.process.abort()
      for (const made of add.slice(0, ids.length)) releaseSocket(helper, made)
      if (!(error instanceof UserError)) throw error
      throw new UserError(`${shares[n]?.draft.where('shared-dir')}: ${error.message}`)
    }
  }
  return ids
}

/** Finds the difference. Throws UserError for a part of it that a running process cannot apply. */
export function planReload(
  { shares: running, configuration: before }: Description,
  { configuration: after, shares, where }: DraftedConfiguration,
): ReloadPlan {
  expectSameProcess(before, after, where)
  const known = new Map(running.map((share) => [keyOf(share.config), share]))
  const wanted = new Set(after.shares.map(keyOf))
  const changed = shares.flatMap((share) => changeOf(share, known.get(keyOf(share.config))))
  return {
    add: after.shares.filter((config) => !known.has(keyOf(config))),
    // What a command has added, a command removes.
    remove: running.filter(({ added, config }) => !added && !wanted.has(keyOf(config))),
    settings: changed.map(({ id, config }) => ({ id, config })),
    atNextMount: Object.fromEntries(
      changed.filter(({ mount }) => mount.length > 0).map(({ config, mount }) => [nameOf(config), mount]),
    ),
  }
}

function changeOf(
  { draft, config }: DraftedShare,
  running: DescribedShare | undefined,
): { id: number; config: ShareConfig; mount: readonly OptionName[] }[] {
  if (running === undefined) return []
  // The path of an inherited socket is known to the running process alone.
  const next = { ...config, socketPath: running.config.socketPath }
  const { now, mount, fixed } = differenceOf(running.config, next)
  const [option] = fixed
  if (option !== undefined)
    throw new UserError(`${draft.where(option)}: a share that runs cannot change this: ${remedyFor(option)}`)
  return now.length + mount.length === 0 ? [] : [{ id: running.id, config: next, mount }]
}

function expectSameProcess(
  before: ProcessSettings,
  after: ProcessSettings,
  where: DraftedConfiguration['where'],
): void {
  for (const [key, option] of Object.entries(processSettings)) {
    // The keys are those of ProcessSettings.
    const name = key as keyof ProcessSettings
    if (JSON.stringify(before[name]) === JSON.stringify(after[name])) continue
    const remedy = keptByReplacement.includes(option) ? 'restart' : 'replace'
    throw new UserError(`${where(option)}: a process that runs cannot change this: ${remedy} it`)
  }
}

function nameOf({ tag, socketPath }: ShareConfig): string {
  return tag ?? socketPath
}

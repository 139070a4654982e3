import { availableParallelism } from 'node:os'
import type { ShareConfig } from '../share/share-config.js'
import { readConfigFile } from './config-file.js'
import { expectDistinct } from './distinct-shares.js'
import { expectOutOfReach, exposureAmong, type ProcessFiles } from './exposed-places.js'
import type { GivenOptions } from './given-options.js'
import { type IdRange, parseIdMap } from './id-map.js'
import { type MetricsAddress, parseMetricsAddress } from './metrics-address.js'
import { dashed } from './option-spec.js'
import { type OptionName, optionTable } from './option-table.js'
import { ChosenOptions, OptionValues } from './option-values.js'
import type { LogLevel, Sandbox, SeccompAction } from './options/process-options.js'
import { buildShare } from './share-builder.js'
import { dangersOf } from './share-dangers.js'
import type { ShareDraft } from './share-draft.js'
import { UserError } from './user-error.js'

/** The process itself needs about 250 open files. */
const LEAST_FILES = 512

/** The result of the command line and the configuration file. */
export interface Configuration {
  /** Contains at least one share. */
  readonly shares: readonly ShareConfig[]
  readonly logLevel: LogLevel
  /** The socket of the system log; undefined: log to standard error. */
  readonly syslog: string | undefined
  /** The limit of open files to set; 0: leave it. */
  readonly fileLimit: number
  /** The number of threads for shares, unless they need threads of their own. */
  readonly shareThreads: number
  readonly controlSocket: string | undefined
  /** Where figures for Prometheus are served; undefined: nowhere. */
  readonly metrics: MetricsAddress | undefined
  /** The configuration file, which SIGHUP reads again; undefined: there is none. */
  readonly configFile: string | undefined
  readonly sandbox: Sandbox
  readonly seccomp: SeccompAction
  /** Changes to the kept capabilities, such as "+SYS_ADMIN". */
  readonly modcaps: string | undefined
  /** The id ranges of the sandbox's user namespace; empty: the default mapping. */
  readonly userMap: readonly IdRange[]
  readonly groupMap: readonly IdRange[]
  /** Given options that have no effect here, each with the reason. */
  readonly ignored: readonly { readonly option: string; readonly reason: string }[]
  /** By share number: the harm that its guest can do to the host. */
  readonly dangers: readonly (readonly string[])[]
}

/** A share, and where its options were given. */
export interface DraftedShare {
  readonly draft: ShareDraft
  readonly config: ShareConfig
}

/** A configuration, and where its options were given. */
export interface DraftedConfiguration {
  readonly configuration: Configuration
  readonly shares: readonly DraftedShare[]
  /** Returns where an option of the process was given. */
  where(option: OptionName): string
}

/** Combines the command line, the file it names, and the defaults. Throws UserError. */
export function configure(given: GivenOptions): Configuration {
  return configureWithPlaces(given).configuration
}

/** Does the same, and keeps where options were given. Throws UserError. */
export function configureWithPlaces(given: GivenOptions): DraftedConfiguration {
  const { path, file, common } = readCommon(given)
  const drafts = [...(file?.shares ?? []), ...given.shares]
  const options = new ChosenOptions(common)
  const places = [common, ...drafts.map(({ values }) => values)]
  const files = filesOf(common, path)
  const shares = buildShares(given, drafts, common, files)
  const configs = shares.map(({ config }) => config)
  const configuration: Configuration = {
    shares: configs,
    dangers: configs.map(dangersAmong(configs)),
    logLevel: options.get('log-level'),
    syslog: files.syslog,
    controlSocket: files.controlSocket,
    configFile: path,
    metrics: metricsOf(options),
    ...confinementOf(configs, common),
    modcaps: options.get('modcaps'),
    userMap: parseIdMap('--uid-map', options.get('uid-map')),
    groupMap: parseIdMap('--gid-map', options.get('gid-map')),
    shareThreads: options.get('share-threads') ?? availableParallelism(),
    fileLimit: checkedFileLimit(options.get('rlimit-nofile')),
    ignored: optionTable.flatMap(({ name, ignored }) =>
      ignored !== undefined && places.some((values) => values.has(name))
        ? [{ option: dashed(name), reason: ignored }]
        : [],
    ),
  }
  const where = (option: OptionName) =>
    given.values.has(option) || file === undefined ? dashed(option) : file.where(option)
  return { configuration, shares, where }
}

/**
 * Configures a share that is added to a running process, as another `--share WORDS` of its command line would. Checks it
 * against the shares that run. Throws UserError.
 */
export function configureAdded(
  given: GivenOptions,
  draft: ShareDraft,
  running: readonly ShareConfig[],
): { readonly config: ShareConfig; readonly dangers: readonly string[] } {
  const { path, common } = readCommon(given)
  const files = filesOf(common, path)
  const config = buildShare(draft, common.without(singleShare))
  const others = running.map((other) => ({ draft: nowhere, config: other }))
  const all = [...others, { draft, config }]
  expectDistinct(all, files.controlSocket, files.metricsSocket)
  expectOutOfReach(all, files)
  return { config, dangers: dangersAmong([...running, config])(config) }
}

function filesOf(common: OptionValues, config: string | undefined): ProcessFiles {
  const options = new ChosenOptions(common)
  const metrics = metricsOf(options)
  return {
    controlSocket: options.get('control-socket'),
    metricsSocket: metrics !== undefined && 'path' in metrics ? metrics.path : undefined,
    config,
    syslog: options.get('syslog'),
  }
}

function metricsOf(options: ChosenOptions): MetricsAddress | undefined {
  const text = options.get('metrics')
  return text === undefined ? undefined : parseMetricsAddress(text)
}

/** Returns a function that lists the harm that a share's guest can do to the host, by itself and because of the others. */
function dangersAmong(shares: readonly ShareConfig[]): (share: ShareConfig) => readonly string[] {
  const exposedTo = exposureAmong(shares)
  const uid = process.geteuid?.() ?? 0
  return (share) => [...dangersOf(share, uid), ...exposedTo(share)]
}

const nowhere: ShareDraft = { values: new OptionValues(), where: dashed, rules: [] }

/** Reads the file that the command line names. The command line overrides the file, and both override the defaults. */
function readCommon(given: GivenOptions) {
  const path = given.values.get('config')
  const file = path === undefined ? undefined : readConfigFile(path)
  return { path, file, common: file === undefined ? given.values : given.values.over(file.values) }
}

/**
 * Modules alone are not confined unless that is asked for: they are their user's own programs, and most need files, sockets or
 * threads. Beside a shared directory, they are confined with it.
 */
function confinementOf(
  shares: readonly ShareConfig[],
  given: OptionValues,
): Pick<Configuration, 'sandbox' | 'seccomp'> {
  const options = new ChosenOptions(given)
  const free = shares.length > 0 && shares.every(({ fileSystem }) => fileSystem !== undefined)
  return {
    sandbox: given.get('sandbox') ?? (free ? 'none' : options.get('sandbox')),
    seccomp: given.get('seccomp') ?? (free ? 'none' : options.get('seccomp')),
  }
}

/** Options that define a single share; all other options of the command line apply to every share. */
const singleShare = ['shared-dir', 'file-system', 'socket-path', 'fd', 'tag'] as const

function buildShares(
  given: GivenOptions,
  described: readonly ShareDraft[],
  common: OptionValues,
  files: ProcessFiles,
): readonly DraftedShare[] {
  const single: ShareDraft = { values: given.values, where: (option) => `--${option}`, rules: [] }
  const isSingle = described.length === 0 || singleShare.some((name) => given.values.has(name))
  const drafts = isSingle ? [single, ...described] : described
  const shared = common.without(singleShare)
  const shares = drafts.map((draft) => ({ draft, config: buildShare(draft, shared) }))
  expectDistinct(shares, files.controlSocket, files.metricsSocket)
  expectOutOfReach(shares, files)
  return shares
}

function checkedFileLimit(limit: number): number {
  if (limit > 0 && limit < LEAST_FILES) {
    throw new UserError(
      `--rlimit-nofile ${limit}: the process itself needs some, give it ${LEAST_FILES} or more`,
    )
  }
  return limit
}

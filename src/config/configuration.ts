import type { ShareConfig } from '../share/share-config.js'
import { readConfigFile } from './config-file.js'
import { expectDistinct } from './distinct-shares.js'
import { expectOutOfReach, exposedTo, type ProcessFiles } from './exposed-places.js'
import type { GivenOptions } from './given-options.js'
import { type IdRange, parseIdMap } from './id-map.js'
import { type MetricsAddress, parseMetricsAddress } from './metrics-address.js'
import { dashed } from './option-spec.js'
import { optionTable } from './option-table.js'
import { ChosenOptions, type OptionValues } from './option-values.js'
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
  readonly controlSocket: string | undefined
  /** Where figures for Prometheus are served; undefined: nowhere. */
  readonly metrics: MetricsAddress | undefined
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

/** Combines the command line, the file it names, and the defaults. Throws UserError. */
export function configure(given: GivenOptions): Configuration {
  const path = given.values.get('config')
  const file = path === undefined ? undefined : readConfigFile(path)
  const drafts = [...(file?.shares ?? []), ...given.shares]
  // The command line overrides the file, and both override the defaults.
  const common = file === undefined ? given.values : given.values.over(file.values)
  const options = new ChosenOptions(common)
  const places = [common, ...drafts.map(({ values }) => values)]
  const metrics = options.get('metrics')
  const files = {
    controlSocket: options.get('control-socket'),
    metricsSocket: /^unix:(.+)$/.exec(metrics ?? '')?.[1],
    config: path,
    syslog: options.get('syslog'),
  }
  const shares = buildShares(given, drafts, common, files)
  return {
    shares,
    dangers: shares.map((share) => [
      ...dangersOf(share, process.geteuid?.() ?? 0),
      ...exposedTo(share, shares),
    ]),
    logLevel: options.get('log-level'),
    syslog: files.syslog,
    controlSocket: files.controlSocket,
    metrics: metrics === undefined ? undefined : parseMetricsAddress(metrics),
    sandbox: options.get('sandbox'),
    seccomp: options.get('seccomp'),
    modcaps: options.get('modcaps'),
    userMap: parseIdMap('--uid-map', options.get('uid-map')),
    groupMap: parseIdMap('--gid-map', options.get('gid-map')),
    fileLimit: checkedFileLimit(options.get('rlimit-nofile')),
    ignored: optionTable.flatMap(({ name, ignored }) =>
      ignored !== undefined && places.some((values) => values.has(name))
        ? [{ option: dashed(name), reason: ignored }]
        : [],
    ),
  }
}

/** Options that define a single share; all other options of the command line apply to every share. */
const singleShare = ['shared-dir', 'file-system', 'socket-path', 'fd', 'tag'] as const

function buildShares(
  given: GivenOptions,
  described: readonly ShareDraft[],
  common: OptionValues,
  files: ProcessFiles,
): ShareConfig[] {
  const single: ShareDraft = { values: given.values, where: (option) => `--${option}`, rules: [] }
  const isSingle = described.length === 0 || singleShare.some((name) => given.values.has(name))
  const drafts = isSingle ? [single, ...described] : described
  const shared = common.without(singleShare)
  const shares = drafts.map((draft) => ({ draft, config: buildShare(draft, shared) }))
  expectDistinct(shares, files.controlSocket, files.metricsSocket)
  const configs = shares.map(({ config }) => config)
  expectOutOfReach(configs, files)
  return configs
}

function checkedFileLimit(limit: number): number {
  if (limit > 0 && limit < LEAST_FILES) {
    throw new UserError(
      `--rlimit-nofile ${limit}: the process itself needs some, give it ${LEAST_FILES} or more`,
    )
  }
  return limit
}

import { type IdRange, parseIdMap } from '../sandbox/id-map.js'
import type { Sandbox, SeccompAction } from '../sandbox/kinds.js'
import type { ShareConfig } from '../share/share-config.js'
import { readConfigFile } from './config-file.js'
import { expectDistinct } from './distinct-shares.js'
import type { GivenOptions } from './given-options.js'
import { dashed } from './option-spec.js'
import { optionTable } from './option-table.js'
import type { OptionValues } from './option-values.js'
import type { logLevels } from './options/process-options.js'
import { buildShare, defaultValues, type ShareDraft } from './share-builder.js'
import { UserError } from './user-error.js'

/** The process itself needs about 250. */
const LEAST_FILES = 512

/** What the command line and the configuration file ask for. */
export interface Configuration {
  /** At least one. */
  readonly shares: readonly ShareConfig[]
  readonly logLevel: (typeof logLevels)[number]
  /** The socket of the system's log; undefined: the log goes to standard error. */
  readonly syslog: string | undefined
  /** The limit of open files to set; 0: none. */
  readonly fileLimit: number
  readonly controlSocket: string | undefined
  readonly sandbox: Sandbox
  readonly seccomp: SeccompAction
  /** Changes to the capabilities that are kept, such as "+SYS_ADMIN". */
  readonly modcaps: string | undefined
  /** Who there is in the sandbox's user namespace; none: nobody asked for another than the usual. */
  readonly userMap: readonly IdRange[]
  readonly groupMap: readonly IdRange[]
  /** Options that were given and change nothing here, each with the reason. */
  readonly ignored: readonly { readonly option: string; readonly reason: string }[]
}

/** Puts together what was given, the file that it names, and the defaults. Throws UserError. */
export function configure(given: GivenOptions): Configuration {
  const path = given.values.get('config') as string | undefined
  const file = path === undefined ? undefined : readConfigFile(path)
  const drafts = [...(file?.shares ?? []), ...given.shares]
  // The command line wins over the file, and both over the defaults.
  const common = new Map([...defaultValues(), ...(file?.values ?? []), ...given.values])
  const places = [given.values, file?.values ?? new Map(), ...drafts.map(({ values }) => values)]
  return {
    shares: buildShares(given, drafts, common),
    logLevel: common.get('log-level') as Configuration['logLevel'],
    syslog: common.get('syslog') as string | undefined,
    controlSocket: common.get('control-socket') as string | undefined,
    sandbox: common.get('sandbox') as Sandbox,
    seccomp: common.get('seccomp') as SeccompAction,
    modcaps: common.get('modcaps') as string | undefined,
    userMap: parseIdMap('--uid-map', (common.get('uid-map') ?? []) as readonly string[]),
    groupMap: parseIdMap('--gid-map', (common.get('gid-map') ?? []) as readonly string[]),
    fileLimit: checkedFileLimit(common.get('rlimit-nofile') as number),
    ignored: optionTable.flatMap(({ name, ignored }) =>
      ignored !== undefined && places.some((values) => values.has(name))
        ? [{ option: dashed(name), reason: ignored }]
        : [],
    ),
  }
}

/** What makes a share by itself; all other options of the command line hold for every share. */
const singleShare = ['shared-dir', 'socket-path', 'fd', 'tag']

function buildShares(
  given: GivenOptions,
  described: readonly ShareDraft[],
  common: OptionValues,
): ShareConfig[] {
  const single: ShareDraft = { values: given.values, where: (option) => `--${option}`, rules: [] }
  const isSingle = described.length === 0 || singleShare.some((name) => given.values.has(name))
  const drafts = isSingle ? [single, ...described] : described
  const shared = new Map([...common].filter(([name]) => !singleShare.includes(name)))
  const shares = drafts.map((draft) => ({ draft, config: buildShare(draft, shared) }))
  expectDistinct(shares, common.get('control-socket') as string | undefined)
  return shares.map(({ config }) => config)
}

function checkedFileLimit(limit: number): number {
  if (limit > 0 && limit < LEAST_FILES) {
    throw new UserError(
      `--rlimit-nofile ${limit}: the process itself needs some, give it ${LEAST_FILES} or more`,
    )
  }
  return limit
}

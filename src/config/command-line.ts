import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import type { ShareConfig } from '../device/share-config.js'
import type { Sandbox, SeccompAction } from '../sandbox/kinds.js'
import { readConfigFile } from './config-file.js'
import { expectDistinct } from './distinct-shares.js'
import type { OptionSpec } from './option-spec.js'
import { optionGroups, optionsByName } from './option-table.js'
import { nearestName, type OptionValues, readValue } from './option-values.js'
import type { logLevels } from './options/process-options.js'
import { buildShare, defaultValues, type ShareDraft } from './share-builder.js'
import { parseShareWords } from './share-words.js'
import { UserError } from './user-error.js'

/** The process itself needs about 250. */
const LEAST_FILES = 512

/** What the command line and the configuration file ask for. */
export interface Configuration {
  /** At least one. */
  readonly shares: readonly ShareConfig[]
  readonly logLevel: (typeof logLevels)[number]
  /** The limit of open files to set; 0: none. */
  readonly fileLimit: number
  readonly controlSocket: string | undefined
  readonly sandbox: Sandbox
  readonly seccomp: SeccompAction
  /** Changes to the capabilities that are kept, such as "+SYS_ADMIN". */
  readonly modcaps: string | undefined
}

function version(): string {
  const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

const commandsBeside = `Commands beside serving, each with a --help of its own:
  check-config   what a configuration means, and which rule wins for a path
  ctl            ask a running virtiofsd-ts, and disturb it on purpose
  trace          print what --trace recorded`

/** What one run over the command line collects. */
class Collector {
  readonly values: OptionValues = new Map()
  readonly shares: ShareDraft[] = []

  set(name: string, raw: string | boolean): void {
    const spec = optionsByName.get(name)
    if (spec === undefined) return
    const value = readValue(spec, raw, `--${name}`)
    const before = this.values.get(spec.name)
    const more = Array.isArray(value) && Array.isArray(before)
    this.values.set(spec.name, more ? [...before, ...value] : value)
  }
}

function command(collector: Collector, name: string, { usage, description, after }: Purpose): Command {
  const program = new Command(name)
    .description(description)
    .usage(`--shared-dir DIR --socket-path SOCKET [options] ${usage}`.trimEnd())
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this help')
    .configureOutput({ writeErr: () => {} })
    .showSuggestionAfterError(false)
    .allowExcessArguments(true)
    .exitOverride()
    .addHelpText('after', `\n${after}`)
  for (const { title, options } of optionGroups) {
    for (const spec of options) addOption(program, spec, `${title}:`, collector)
  }
  const share = new Option(
    '--share <words>',
    'a share: comma-separated options, such as tag=a,path=DIR,socket=SOCK,cache=never',
  )
  program.addOption(
    share.helpGroup('Several shares:').argParser((words) => collector.shares.push(parseShareWords(words))),
  )
  const config = new Option('--config <file>', 'TOML file with [[share]] and [[share.rule]]')
  return program.addOption(config.helpGroup('Several shares:'))
}

function addOption(program: Command, spec: OptionSpec, group: string, collector: Collector): void {
  for (const name of [spec.name, ...(spec.aliases ?? [])]) {
    const long = spec.negated ? `no-${name}` : name
    const flags = spec.argument === undefined ? `--${long}` : `--${long} <${spec.argument}>`
    const option = new Option(flags, helpText(spec)).helpGroup(group)
    if (name !== spec.name) option.hideHelp()
    program.addOption(option)
    program.on(`option:${long}`, (value: string | null) => collector.set(name, value ?? !spec.negated))
  }
}

/** The option's text with its values, default and other names. */
function helpText(spec: OptionSpec): string {
  const notes = [
    ...(spec.kind.type === 'choice' ? [`one of ${spec.kind.choices.join(', ')}`] : []),
    ...(typeof spec.default === 'string' ? [`default ${spec.default}`] : []),
    ...(spec.aliases?.length ? [`also --${spec.aliases.join(', --')}`] : []),
  ]
  return notes.length === 0 ? spec.text : `${spec.text} (${notes.join('; ')})`
}

/** What a command line is for, as help tells it, and what it takes besides options that say what to serve. */
export interface Purpose {
  readonly description: string
  /** The arguments, such as "[PATH [FLAGS]]", and how many there may be. */
  readonly usage: string
  readonly max: number
  /** What help ends with. */
  readonly after: string
}

const serving: Purpose = {
  description: 'Serves host directories to QEMU guests as virtio-fs devices.',
  usage: '',
  max: 0,
  after: commandsBeside,
}

/** The configuration, and the arguments that are no options. */
export interface Parsed {
  readonly configuration: Configuration
  readonly positionals: readonly string[]
}

/**
 * Reads the arguments after the program's (or subcommand's) name. Undefined when they asked for help or the version,
 * which has been printed. Throws UserError.
 */
export function parseCommandLine(
  args: readonly string[],
  name = 'virtiofsd-ts',
  purpose: Purpose = serving,
): Parsed | undefined {
  const collector = new Collector()
  const program = command(collector, name, purpose)
  try {
    program.parse(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return undefined
    throw new UserError(describe(error))
  }
  const extra = program.args[purpose.max]
  if (extra !== undefined) throw new UserError(`unexpected argument '${extra}': options begin with --`)
  const { config } = program.opts<{ config?: string }>()
  return { configuration: configure(collector, config), positionals: program.args }
}

function describe({ code, message }: CommanderError): string {
  const plain = message.replace(/^error: /, '').replaceAll('\n', ' ')
  const unknown = code === 'commander.unknownOption' ? /--[^'=]+/.exec(plain)?.[0] : undefined
  if (unknown === undefined) return plain
  const known = [...optionsByName.keys(), 'share', 'config'].map((name) => `--${name}`)
  return plain + nearestName(unknown, known)
}

function configure(collector: Collector, configPath: string | undefined): Configuration {
  const file = configPath === undefined ? undefined : readConfigFile(configPath)
  // The command line wins over the file, and both over the defaults.
  const common = new Map([...defaultValues(), ...(file?.values ?? []), ...collector.values])
  return {
    shares: buildShares(collector, file?.shares ?? [], common),
    logLevel: common.get('log-level') as Configuration['logLevel'],
    controlSocket: common.get('control-socket') as string | undefined,
    sandbox: common.get('sandbox') as Sandbox,
    seccomp: common.get('seccomp') as SeccompAction,
    modcaps: common.get('modcaps') as string | undefined,
    fileLimit: checkedFileLimit(common.get('rlimit-nofile') as number),
  }
}

/** `--shared-dir` and `--socket-path` make a share of their own; the other options then hold for every share. */
function buildShares(
  collector: Collector,
  fromFile: readonly ShareDraft[],
  common: OptionValues,
): ShareConfig[] {
  const drafts = [...fromFile, ...collector.shares]
  const single = ['shared-dir', 'socket-path', 'tag']
  if (drafts.length === 0 || single.some((name) => collector.values.has(name))) {
    drafts.unshift({ values: collector.values, where: (option) => `--${option}`, rules: [] })
  }
  const shared = new Map([...common].filter(([name]) => !single.includes(name)))
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

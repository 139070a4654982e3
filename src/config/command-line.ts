import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { Command, CommanderError, Option } from 'commander'
import { fsConfig } from '../device/fs-device.js'
import type { ShareConfig } from '../device/share-config.js'
import type { CacheMode } from '../io-mode/cache-policy.js'
import { type logLevels, optionSpecs } from './options.js'
import { UserError } from './user-error.js'

/** sun_path has 108 bytes, one of them for the NUL. */
const SOCKET_PATH_MAX_BYTES = 107
const POLL_US_MAX = 1_000_000
/** The process itself needs about 250. */
const LEAST_FILES = 512
const MOST_FILES = 2 ** 30

/** What the command line asks for. */
export interface Configuration {
  readonly share: ShareConfig
  readonly logLevel: (typeof logLevels)[number]
  /** The limit of open files to set; 0: none. */
  readonly fileLimit: number
}

/** As commander names the options. */
interface ParsedOptions {
  sharedDir?: string
  socketPath?: string
  tag?: string
  readonly?: boolean
  cache: CacheMode
  allowMmap?: boolean
  parallelDio?: boolean
  allowDirectIo?: boolean
  writeback?: boolean
  readdirplus: boolean
  pollUs: string
  rlimitNofile: string
  keepAlive?: boolean
  sandbox: string
  logLevel: (typeof logLevels)[number]
}

function version(): string {
  const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

function command(): Command {
  const program = new Command('virtiofsd-ts')
    .description('Serves a host directory to a QEMU guest as a virtio-fs device.')
    .usage('--shared-dir DIR --socket-path SOCKET [options]')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this help')
    .configureOutput({ writeErr: () => {} })
    .exitOverride()
  for (const spec of optionSpecs) {
    const option = new Option(spec.flags, spec.text).helpGroup(`${spec.group}:`)
    if (spec.choices !== undefined) option.choices(spec.choices)
    if (spec.default !== undefined) option.default(spec.default)
    program.addOption(option)
  }
  return program
}

/**
 * Reads the arguments after the program's name. Undefined when they asked for help or the version, which has been
 * printed. Throws UserError.
 */
export function parseCommandLine(args: readonly string[]): Configuration | undefined {
  const program = command()
  try {
    program.parse(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.exitCode === 0) return undefined
    throw new UserError(error.message.replace(/^error: /, '').replaceAll('\n', ' '))
  }
  const extra = program.args[0]
  if (extra !== undefined) throw new UserError(`unexpected argument '${extra}': options begin with --`)
  const options = program.opts<ParsedOptions>()
  return { share: shareOf(options), logLevel: options.logLevel, fileLimit: fileLimitOf(options) }
}

function shareOf(options: ParsedOptions): ShareConfig {
  if (options.sandbox !== 'none') {
    throw new UserError(`--sandbox ${options.sandbox} does not exist yet: use --sandbox none`)
  }
  return {
    directory: checkedDirectory(options.sharedDir),
    socketPath: checkedSocketPath(options.socketPath),
    tag: checkedTag(options.tag),
    cache: options.cache,
    allowMmap: options.allowMmap === true,
    parallelDio: options.parallelDio === true,
    allowDirectIo: options.allowDirectIo === true,
    writeback: options.writeback === true,
    readonly: options.readonly === true,
    readdirplus: options.readdirplus,
    pollUs: checkedNumber('--poll-us', options.pollUs, 0, POLL_US_MAX, 'microseconds'),
    keepAlive: options.keepAlive === true,
  }
}

function fileLimitOf({ rlimitNofile }: ParsedOptions): number {
  if (rlimitNofile === '0') return 0
  return checkedNumber('--rlimit-nofile', rlimitNofile, LEAST_FILES, MOST_FILES, 'files')
}

function checkedDirectory(path: string | undefined): string {
  if (path === undefined) throw new UserError('--shared-dir DIR is missing: which directory is to be shared?')
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined) throw new UserError(`--shared-dir ${path}: no such directory`)
  if (!stat.isDirectory()) throw new UserError(`--shared-dir ${path}: not a directory`)
  return resolve(path)
}

function checkedSocketPath(path: string | undefined): string {
  if (path === undefined) throw new UserError('--socket-path SOCKET is missing: where is QEMU to connect?')
  const lenBytes = Buffer.byteLength(path)
  if (lenBytes === 0 || lenBytes > SOCKET_PATH_MAX_BYTES) {
    throw new UserError(
      `--socket-path ${path}: ${lenBytes} bytes, a socket path has 1 to ${SOCKET_PATH_MAX_BYTES}`,
    )
  }
  return path
}

function checkedTag(tag: string | undefined): string | undefined {
  if (tag === undefined) return undefined
  try {
    fsConfig(tag, 1)
  } catch (error) {
    throw new UserError(`--tag '${tag}': ${(error as Error).message}`)
  }
  return tag
}

/** A whole number in a range, for an option whose value counts something. */
function checkedNumber(option: string, text: string, min: number, max: number, unit: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new UserError(`${option} ${text}: not a whole number of ${unit} from ${min} to ${max}`)
  }
  return value
}

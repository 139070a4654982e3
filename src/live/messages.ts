/** What a helper and the running process tell each other, as JSON in packets: see PacketSocket. */
import { createRequire } from 'node:module'
import type { Configuration } from '../config/configuration.js'
import type { LogLevel } from '../config/options/process-options.js'
import type { ShareConfig } from '../share/share-config.js'

/** A share as the running process describes it. */
export interface DescribedShare {
  readonly id: number
  /** Its tag, or its number, counted from 0. */
  readonly name: string
  /** True if it was added by a command, and not by the command line or the configuration file. */
  readonly added: boolean
  /** The words of the command that added it. */
  readonly words?: string | undefined
  readonly config: ShareConfig
}

/** The settings of a process that are not those of a share. */
export type ProcessSettings = Omit<Configuration, 'shares' | 'dangers'>

/** The running process, as a change needs to know it. */
export interface Description {
  /** The process that started it, as the pid files name it. */
  readonly pid: number
  readonly shares: readonly DescribedShare[]
  /** Those that it started with; the log level is the present one. */
  readonly configuration: ProcessSettings
}

/** A share to be made. */
export interface NewShare {
  readonly config: ShareConfig
  readonly added: boolean
  readonly words?: string | undefined
  /** What its guest can do to the host, for the log. */
  readonly dangers: readonly string[]
}

/** New settings for a share that runs. */
export interface NewSettings {
  readonly id: number
  readonly config: ShareConfig
}

/** Everything that one change does, carried out at once. */
export interface Changes {
  /** Shares that `prepare` has made, which begin to serve. */
  readonly begin: readonly number[]
  readonly remove: readonly number[]
  readonly settings: readonly NewSettings[]
  readonly logLevel: LogLevel
  /** The line for the log. */
  readonly said: string
}

/** What SIGHUP and SIGUSR2 ask for. */
export type SignalTask = 'reload' | 'replace'

/** A request of a helper. The running process answers each but `abort` and `refused` with one Answer, in order. */
export type LiveRequest =
  | { readonly op: 'describe' }
  /**
   * Makes a share that does not serve yet. Its descriptors come along: the listening socket and the directory. Answered
   * with the share's number.
   */
  | ({ readonly op: 'prepare' } & NewShare)
  | ({ readonly op: 'commit' } & Changes)
  /**
   * Hands everything to the process at the other end of the socket that comes along. Answered when that process serves; this
   * one ends then.
   */
  | { readonly op: 'replace' }
  /** Gives up what was prepared and not committed. */
  | { readonly op: 'abort' }
  /** What a signal asked for was refused; the text is for the log. */
  | { readonly op: 'refused'; readonly task: SignalTask; readonly reason: string }

/** A request, with the id of its answer: a helper that was killed may have left an answer unread. */
export type SentRequest = LiveRequest & { readonly id?: string }

export type LiveAnswer = { readonly id: string | undefined } & (
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: string }
)

/** A longer message is compressed: what is said of a hundred shares is mostly the same. JSON does not begin with this letter. */
const LONG = 64 * 1024
const COMPRESSED = 'z'
/** The longest message after that, in bytes. */
const MAX_BYTES = 64 * 1024 * 1024

/** Node's part for this, loaded when it is first needed. */
function zlib(): typeof import('node:zlib') {
  return createRequire(import.meta.url)('node:zlib')
}

/** Writes a message. INIT flags are bigints, which JSON lacks. */
export function encodeMessage(message: SentRequest | LiveAnswer): string {
  const text = JSON.stringify(message, (_, value: unknown) =>
    typeof value === 'bigint' ? { bigint: `${value}` } : value,
  )
  return text.length <= LONG ? text : COMPRESSED + zlib().deflateRawSync(text).toString('base64')
}

/** Reads what `encodeMessage` wrote. Throws an Error for anything else. */
export function decodeMessage(message: string): unknown {
  const text = message.startsWith(COMPRESSED)
    ? zlib()
        .inflateRawSync(Buffer.from(message.slice(1), 'base64'), { maxOutputLength: MAX_BYTES })
        .toString()
    : message
  return JSON.parse(text, (_, value: unknown) => {
    if (typeof value !== 'object' || value === null || !('bigint' in value)) return value
    return BigInt(String(value.bigint))
  })
}

import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { visibleJson } from 'virtio-fs-ts/protocol'
import { hasName } from '../basics/has-name.js'
import { changesPath } from '../config/changes-path.js'
import { UserError } from '../config/user-error.js'
import { changeCommands, ownCommands, shareCommands } from '../control/control-commands.js'
import { ControlConnection } from './control-connection.js'
import { parseCtlArgument, splitReplace } from './ctl-arguments.js'
import { viewOf } from './ctl-views.js'
import { parseArguments, subcommand } from './subcommand.js'

const after = `Commands, with the argument they take:
${Object.entries({ ...ownCommands, ...changeCommands, ...shareCommands })
  .map(([name, text]) => `  ${name.padEnd(13)} ${text}`)
  .join('\n')}

An argument is words, as above, or JSON: true for on, an array of opcodes or flags, an object for NAME=VALUE.
  ctl ... inspect on                       ctl ... inodes top=5,sort=writes,path=db/**
  ctl ... withhold LSEEK+SYNCFS            ctl ... init off=ASYNC_DIO,minor=31
  ctl ... set cache=never,entry-timeout=0  ctl ... set '{"rules":[{"match":"**/db","cache":"never"}]}'
  ctl ... share-add tag=home,path=/home,socket=/run/home.sock
  ctl ... fault-add opcode=WRITE,path=**/db,hold=2,timeout-ms=300

Words of a fault that choose requests: opcode=A+B, path=GLOB, probability=0.1, limit=3 (at most 3 requests).
Words that say what happens to them:
  hold=2,timeout-ms=300   keep requests of one file until 2 are there, or 300 ms have passed
  delay-ms=5              wait 5 ms; also 1..9 (uniform), exp:5 (exponential, mean 5), normal:5:2 (mean 5, deviation 2)
  errno=EIO               fail instead of being carried out
  short-bytes=512         let a READ or WRITE move no more than this
  violation=KIND          a reply that breaks the protocol: unique, length, positive-error, error-with-data or no-data (needs
                          --unsafe-faults)
In JSON a fault has the keys opcodes, path, probability, limit, hold: { until, timeoutMs }, delay: { fixedMs, uniformMs,
exponentialMs or normalMs }, errno, shortBytes and violation.`

const CLEAR_SCREEN = '\x1b[H\x1b[2J'

interface CtlOptions {
  controlSocket: string
  share?: string
  watch?: string
  json?: true
  text?: true
}

function makeCommand(): Command {
  return subcommand(
    'virtiofsd-ts ctl',
    'Queries and changes a running virtiofsd-ts, or makes it fail on purpose.',
    after,
  )
    .requiredOption('--control-socket <path>', 'the path that the running process was given')
    .option('--share <name>', "a share's tag, or its number from 0 on; needed if there are several shares")
    .option('--watch <seconds>', 'repeat the command')
    .option('--json', 'print JSON (the default when the output is not a terminal)')
    .option('--text', 'print tables (the default on a terminal)')
    .argument('<command>')
    .argument('[argument]')
}

/** `virtiofsd-ts ctl`. Throws UserError. */
export async function runCtl(words: readonly string[]): Promise<void> {
  const { args, successor } = splitReplace(words)
  const parsed = makeCommand()
  if (!parseArguments(parsed, args)) return
  const options = parsed.opts<CtlOptions>()
  const [command = '', given] = parsed.args
  const watchMs = watchTime(options.watch)
  const text = wantsText(options)
  const request = { command, share: options.share, argument: successor ?? parseCtlArgument(command, given) }
  const changes = hasName(changeCommands, command)
  const path = changes ? changesPath(options.controlSocket) : options.controlSocket
  const connection = await ControlConnection.open(path, 'ctl')
  try {
    do {
      const result = await connection.ask(request)
      if (watchMs !== undefined && process.stdout.isTTY) process.stdout.write(CLEAR_SCREEN)
      process.stdout.write(text ? viewOf(command, result) : jsonOf(result))
      if (watchMs !== undefined) await sleep(watchMs)
    } while (watchMs !== undefined)
  } finally {
    connection.close()
  }
}

function watchTime(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const seconds = Number(text)
  if (!(seconds > 0)) throw new UserError(`ctl: --watch ${text}: not a number of seconds`)
  return seconds * 1000
}

function wantsText({ json, text }: CtlOptions): boolean {
  if (json && text) throw new UserError('ctl: --json or --text, not both')
  return text === true || (json !== true && process.stdout.isTTY)
}

function jsonOf(result: unknown): string {
  return `${visibleJson(JSON.stringify(result, undefined, 2))}\n`
}

import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { UserError } from '../config/user-error.js'
import { ownCommands, shareCommands } from '../control/control-commands.js'
import { parseFaultWords } from '../inspect/fault-spec.js'

const usage = `Usage: virtiofsd-ts ctl --control-socket SOCKET [--share NAME] COMMAND [ARGUMENT]

Asks a running virtiofsd-ts. The answer is printed as JSON. ARGUMENT is JSON, or for fault-add words
such as opcode=WRITE,path=**/db,hold=2,timeout-ms=300.

Commands:
${Object.entries({ ...ownCommands, ...shareCommands })
  .map(([name, text]) => `  ${name.padEnd(13)} ${text}`)
  .join('\n')}

Options:
  --control-socket SOCKET   as the running process was given it
  --share NAME              a share's tag, or its number from 0 on; not needed where there is one
  --watch SECONDS           ask again and again
`

const ANSWER_TIMEOUT_MS = 10_000

interface CtlArguments {
  readonly socketPath: string
  readonly share: string | undefined
  readonly watchMs: number | undefined
  readonly command: string
  readonly argument: unknown
}

/** `virtiofsd-ts ctl`. Throws UserError. */
export async function runCtl(args: readonly string[]): Promise<void> {
  if (args.length === 0 || args.includes('--help') || args.includes('-h')) {
    process.stdout.write(usage)
    return
  }
  const parsed = parseArguments(args)
  const socket = await connectTo(parsed.socketPath)
  try {
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
    do {
      const { share, command, argument } = parsed
      socket.write(`${JSON.stringify({ command, share, argument })}\n`)
      print(await nextAnswer(lines))
      if (parsed.watchMs !== undefined) await new Promise((resolve) => setTimeout(resolve, parsed.watchMs))
    } while (parsed.watchMs !== undefined)
  } finally {
    socket.destroy()
  }
}

function parseArguments(args: readonly string[]): CtlArguments {
  const options = new Map<string, string>()
  const words: string[] = []
  for (let n = 0; n < args.length; n++) {
    const arg = args[n]
    if (!arg.startsWith('--')) {
      words.push(arg)
      continue
    }
    const [name, inline] = arg.split(/=(.*)/s)
    if (!['--control-socket', '--share', '--watch'].includes(name))
      throw new UserError(`ctl: unknown option '${name}'`)
    const value = inline ?? args[++n]
    if (value === undefined) throw new UserError(`ctl: ${name} needs a value`)
    options.set(name, value)
  }
  const socketPath = options.get('--control-socket')
  if (socketPath === undefined) throw new UserError('ctl: --control-socket SOCKET is missing')
  const [command, argument, extra] = words
  if (command === undefined) throw new UserError('ctl: which command? --help lists them')
  if (extra !== undefined) throw new UserError(`ctl: unexpected argument '${extra}'`)
  return {
    socketPath,
    share: options.get('--share'),
    watchMs: watchTime(options.get('--watch')),
    command,
    argument: argument === undefined ? undefined : parseArgument(command, argument),
  }
}

function watchTime(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const seconds = Number(text)
  if (!(seconds > 0)) throw new UserError(`ctl: --watch ${text}: not a number of seconds`)
  return seconds * 1000
}

function parseArgument(command: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    if (command !== 'fault-add') throw new UserError(`ctl: the argument is not JSON: ${text}`)
    try {
      return parseFaultWords(text)
    } catch (error) {
      throw new UserError(`ctl: ${(error as Error).message}`)
    }
  }
}

function connectTo(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(socket))
    socket.once('error', (error: NodeJS.ErrnoException) => {
      reject(new UserError(`ctl: nobody answers at ${path} (${error.code})`))
    })
  })
}

async function nextAnswer(lines: AsyncIterator<string>): Promise<string> {
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new UserError('ctl: no answer in time')), ANSWER_TIMEOUT_MS).unref()
  })
  const { value, done } = await Promise.race([lines.next(), late])
  if (done) throw new UserError('ctl: the process closed the connection')
  return value
}

function print(line: string): void {
  const answer = JSON.parse(line) as { ok: boolean; result?: unknown; error?: string }
  if (!answer.ok) throw new UserError(`ctl: ${answer.error}`)
  process.stdout.write(`${JSON.stringify(answer.result, undefined, 2)}\n`)
}

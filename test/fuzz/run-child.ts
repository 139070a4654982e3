import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ChildLine, ChildOptions } from './child-options.js'
import type { Sanitizers } from './sanitizers.js'

const CHILD = fileURLToPath(new URL('./child.js', import.meta.url))
/** A child prints its progress every second; one that prints nothing for this long hangs. */
const HANG_MS = 60_000
/** The most that an input can fill. */
const SCRATCH_OPTIONS = 'size=64m,nr_inodes=20k,mode=755'
/** The scratch directory is a file system in memory, which only the child sees. */
const IN_SCRATCH = `mount -t tmpfs -o ${SCRATCH_OPTIONS} scratch "$0" && exec "$@"`

/** A crash, a hang, or a failed check. */
export class FuzzFailure extends Error {}

/** Runs a campaign in a process of its own; calls `progress` while it does. Rejects with FuzzFailure. */
export async function runChild(
  options: ChildOptions,
  { environment }: Sanitizers,
  progress: (line: ChildLine) => void,
): Promise<ChildLine> {
  const { PATH = '' } = process.env
  const env = Object.entries({ PATH, ...environment }).map(([name, value]) => `${name}=${value}`)
  const user = process.geteuid?.() === 0 ? [] : ['--user', '--map-root-user']
  const child = spawn(
    'unshare',
    [
      ...[...user, '--mount', '--kill-child', '--fork', 'sh', '-c', IN_SCRATCH, options.scratch],
      ...['env', '-i', ...env, process.execPath, CHILD, JSON.stringify(options)],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let last: ChildLine | undefined
  let hung = false
  let said = ''
  const hang = () => {
    hung = true
    child.kill('SIGKILL')
  }
  let watchdog = setTimeout(hang, HANG_MS)
  child.stderr.on('data', (chunk) => {
    said = `${said}${chunk}`.slice(-20_000)
  })
  createInterface({ input: child.stdout }).on('line', (line) => {
    clearTimeout(watchdog)
    watchdog = setTimeout(hang, HANG_MS)
    last = JSON.parse(line) as ChildLine
    if (!last.ended) progress(last)
  })
  const how = await new Promise<string>((resolve) => {
    child.on('close', (status, signal) =>
      resolve(status === 0 ? '' : `ended by ${signal ?? `status ${status}`}`),
    )
  })
  clearTimeout(watchdog)
  if (hung) throw new FuzzFailure(`nothing heard for ${HANG_MS / 1000} s: it hangs`)
  if (how !== '' || last?.ended !== true) throw new FuzzFailure(`${how}\n${said}`)
  return last
}

/** A signal ends the program at whatever moment of its start it comes, and nothing of the start is left behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { descriptorsOf } from '../../vm/host/descriptors-of.js'
import { textOf } from '../../vm/host/text-of.js'
import { isRoot } from '../support/device/cases.js'
import { sleep } from '../support/device/device.js'
import { attach } from '../support/fuse/mount.js'
import { processesOf } from '../support/host/processes.js'
import { tempDir } from '../support/host/temp-dir.js'

const PROGRAM = fileURLToPath(new URL('../../program/main.js', import.meta.url))
const MOMENTS = 50
const AT_A_TIME = 10
/** Only a hang takes so long. */
const HANG_MS = 30_000
/** Of a socket, as /proc/PID/net/tcp has it. */
const LISTENS = '0A'
const ENDING = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const
const sandboxes = isRoot ? ['namespace', 'chroot', 'none'] : ['namespace', 'none']

/** The program on a directory of its own. */
class Start {
  readonly directory: string
  readonly socketPath: string
  readonly ended: Promise<string>
  stderr = ''
  private readonly child: ChildProcess

  constructor(t: Test, sandbox: string) {
    this.directory = tempDir(t)
    this.socketPath = join(this.directory, 'socket')
    const args = ['--shared-dir', tempDir(t), '--socket-path', this.socketPath, '--sandbox', sandbox]
    const control = ['--control-socket', join(this.directory, 'control')]
    const { PATH } = process.env
    // The test runner hands on options to each process, by which that would listen to signals itself.
    const words = ['-i', `PATH=${PATH}`, process.execPath, PROGRAM, ...args, ...control]
    this.child = spawn('env', words, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    this.ended = new Promise((resolve) => {
      const late = setTimeout(() => {
        this.kill('SIGKILL')
        resolve(`still there, having said:\n${this.stderr}`)
      }, HANG_MS)
      this.child.on('close', () => {
        clearTimeout(late)
        resolve('ended')
      })
    })
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Resolves when it serves, or has ended. */
  async settled(): Promise<void> {
    while (!this.serves && this.child.exitCode === null && this.child.signalCode === null) await sleep(5)
  }

  get serves(): boolean {
    return this.stderr.includes('"ready')
  }

  /** Files outside of the share, and processes. */
  leftBehind(): string[] {
    return [...readdirSync(this.directory), ...processesOf(this.directory).map((pid) => `process ${pid}`)]
  }

  /** TCP ports that a process of it listens at. */
  ports(): string[] {
    return processesOf(this.directory).flatMap((pid) => {
      const sockets = new Set(descriptorsOf(pid))
      return textOf(`/proc/${pid}/net/tcp`)
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .filter(([, , , state, , , , , , inode]) => state === LISTENS && sockets.has(`socket:[${inode}]`))
        .map(([, address]) => `${pid}: ${address}`)
    })
  }
}

/** Starts the program 50 times, and calls `then` at as many moments, from its start until after its first request. */
async function atEveryMoment(t: Test, sandbox: string, then: (start: Start) => Promise<void>): Promise<void> {
  const startMs = performance.now()
  const first = new Start(t, sandbox)
  await first.settled()
  attach(t, first).init()
  const wholeMs = 1.2 * (performance.now() - startMs)
  first.kill('SIGTERM')
  await first.ended
  for (let moment = 0; moment < MOMENTS; moment += AT_A_TIME) {
    const some = Array.from({ length: AT_A_TIME }, (_, n) => ({ n, start: new Start(t, sandbox) }))
    await Promise.all(
      some.map(async ({ n, start }) => {
        await sleep(((moment + n) / MOMENTS) * wholeMs)
        await then(start)
      }),
    )
  }
}

for (const sandbox of sandboxes) {
  for (const signal of sandbox === 'namespace' ? ENDING : (['SIGTERM'] as const)) {
    t.test(`${signal} at ${MOMENTS} moments (--sandbox ${sandbox})`, async (t) => {
      await atEveryMoment(t, sandbox, async (start) => {
        start.kill(signal)
        t.equal(await start.ended, 'ended')
        t.same(start.leftBehind(), [])
      })
    })
  }

  if (sandbox === 'chroot') continue
  t.test(`SIGUSR1 at ${MOMENTS} moments starts no debugger (--sandbox ${sandbox})`, async (t) => {
    await atEveryMoment(t, sandbox, async (start) => {
      start.kill('SIGUSR1')
      // Before our code runs in the process, the kernel ends it.
      await start.settled()
      t.notMatch(start.stderr, /ended by signal/)
      if (start.serves) {
        start.kill('SIGUSR1')
        await sleep(50)
        attach(t, start).init()
        t.same(start.ports(), [])
      }
      start.kill('SIGTERM')
      t.equal(await start.ended, 'ended')
      t.same(start.leftBehind(), [])
    })
  })
}

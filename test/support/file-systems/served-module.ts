import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { tempDir } from '../host/temp-dir.js'

const SERVER = fileURLToPath(new URL('./serve-module.js', import.meta.url))
const EXAMPLES = fileURLToPath(new URL('../../../../src/virtio-fs/examples/', import.meta.url))

/** The path of an example file system. */
export const example = (name: string) => `${EXAMPLES}${name}.js`
/** The path of a compiled module beside this one. */
export const fixture = (name: string) => fileURLToPath(new URL(`./${name}.js`, import.meta.url))

/** How to call a module, and how to serve its file system. */
export interface ModuleOptions {
  readonly serve?: object
  readonly make?: object
}

/**
 * A module's file system, served by a process of its own. It is stopped at the end of the test, and must have
 * survived until then.
 */
export class ServedModule {
  readonly socketPath: string
  /** Its output so far, on both streams. */
  output = ''
  readonly exited: Promise<number | null>
  private readonly child: ChildProcess
  private stopping = false

  private constructor(t: Test, module: string, options: ModuleOptions) {
    this.socketPath = `${tempDir(t)}/socket`
    this.child = spawn(process.execPath, [SERVER, module, this.socketPath, JSON.stringify(options)])
    this.exited = new Promise((resolve) => this.child.once('exit', resolve))
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text
      })
    t.teardown(async () => {
      const died = this.child.exitCode !== null && this.child.exitCode !== 0
      if (died && !this.stopping) t.fail(`the process ended with ${this.child.exitCode}:\n${this.output}`)
      this.stopping = true
      this.child.kill('SIGKILL')
      await this.exited
    })
  }

  get pid(): number {
    return this.child.pid as number
  }

  /** Resolves when a guest can connect. */
  static async start(t: Test, module: string, options: ModuleOptions = {}): Promise<ServedModule> {
    const served = new ServedModule(t, module, options)
    await served.says(/^ready$/m)
    return served
  }

  /** Resolves when its output matches. Rejects if it ends before. */
  async says(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.output)) {
      if (this.child.exitCode !== null) throw new Error(`ended without saying ${pattern}:\n${this.output}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

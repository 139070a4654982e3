/** A device whose queues have a thread each, for `make bench-queues`: `main.js THREADS OWN|SHARED [options of virtiofsd-ts]`. */
import { closeSync, constants, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { MessageChannel, Worker } from 'node:worker_threads'
import * as native from 'virtiofsd-ts-native'
import { parseCommandLine } from '../../../../src/config/command-line.js'
import '../../../../src/share/v8-flags.js'
import { makeTableMemory } from './shared-tables.js'
import type { ThreadStart } from './thread.js'

const [threadText = '1', tables = 'own', ...args] = process.argv.slice(2)
const threads = Number(threadText)
const config = parseCommandLine(args)?.configuration.shares[0]
if (config === undefined) throw new Error('no share')
// O_PATH is not among the constants of Node.
native.setFileLimit(500_000)
const procFd = openSync('/proc/self/fd', constants.O_DIRECTORY | 0o10000000)
const listenFd = native.unixListen(config.socketPath, 0o600)
const channels = Array.from({ length: threads - 1 }, () => new MessageChannel())
const memory = tables === 'shared' || threads > 1 ? makeTableMemory(threads) : undefined

for (let thread = 0; thread < threads; thread++) {
  const ports = thread === 0 ? channels.map(({ port1 }) => port1) : [channels[thread - 1]!.port2]
  const start: ThreadStart = { thread, config, procFd, listenFd, memory, ports }
  const worker = new Worker(fileURLToPath(new URL('./thread.js', import.meta.url)), {
    workerData: start,
    transferList: ports,
  })
  worker.on('error', (error) => {
    process.stderr.write(`${error.stack}\n`)
    process.exit(1)
  })
  // The first thread has the front-end.
  if (thread === 0) worker.on('exit', () => process.exit(0))
}
process.on('exit', () => closeSync(listenFd))

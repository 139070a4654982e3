/** V8 compiles the program of threads that are started live once. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel } from 'node:worker_threads'
import t from 'tap'
import type { LoadedProgram } from '../../../src/share/loaded-program.js'
import { OwnThread } from '../../../src/share/share-threads.js'
import type { WorkerMessage, WorkerStart } from '../../../src/share/worker-messages.js'

/** The names are those of the code that runs the program: it must not see them. */
const text = `
  const { parentPort, workerData } = require('node:worker_threads')
  const { Script, code } = {}
  parentPort.postMessage({ type: 'log', fields: { root: workerData.root } })`

async function run(program: LoadedProgram, root: string): Promise<WorkerMessage | undefined> {
  const { port1, port2 } = new MessageChannel()
  let told: WorkerMessage | undefined
  // The program looks at nothing else.
  const start = { root, commandPort: port2, config: { queueThreads: 1 } } as WorkerStart
  await new OwnThread(program).run(start, (message) => {
    told = message
  }).gone
  port1.close()
  return told
}

t.test('the second thread takes the code of the first', async (t) => {
  const program: LoadedProgram = { text, nativePath: '' }
  t.match(await run(program, 'a'), { fields: { root: 'a' } })
  for (let n = 0; program.code === undefined && n < 500; n++) await sleep(10)
  const { code } = program
  t.type(code, Uint8Array)
  t.match(await run(program, 'b'), { fields: { root: 'b' } })
  await sleep(50)
  t.equal(program.code, code, 'a thread that could not use it would have sent its own')
})

t.test('code that V8 does not take is put in order', async (t) => {
  const code = new Uint8Array(100)
  const program: LoadedProgram = { text, nativePath: '', code }
  t.match(await run(program, 'a'), { fields: { root: 'a' } })
  for (let n = 0; program.code === code && n < 500; n++) await sleep(10)
  t.not(program.code, code)
})

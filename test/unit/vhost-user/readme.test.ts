/** The device and the front-end of the package's README do what it says. */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { connectSoon } from '../../support/eager-frontend.js'
import { tempDir } from '../../support/temp-dir.js'

// From dist/test/unit/vhost-user back to the root.
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url))
const README = join(ROOT, 'src/vhost-user/README.md')
const TIMEOUT_MS = 10_000

const blocks = [...readFileSync(README, 'utf8').matchAll(/```js\n([\s\S]*?)```/g)].map(
  ([, code]) => code ?? '',
)

t.test('the entropy device', async (t) => {
  const [device = '', frontendCode = ''] = blocks
  t.equal(blocks.length, 2)
  const directory = tempDir(t)
  const program = join(directory, 'device.mjs')
  // The package is found from the repository, not from the temporary directory.
  writeFileSync(program, device.replace("'vhost-user-ts'", `'${join(ROOT, 'src/vhost-user/dist/index.js')}'`))
  const socketPath = join(directory, 'socket')
  const process_ = spawn('env', ['-i', process.execPath, program, socketPath], { stdio: 'inherit' })
  const exited = new Promise<number | null>((resolve) => process_.on('exit', resolve))
  t.teardown(() => process_.kill('SIGKILL'))

  const frontend = await connectSoon(socketPath)
  frontend.negotiate()
  const queue = frontend.addQueue(64)
  const draw = () => {
    const gpa = frontend.allocate(16, 16)
    queue.submit([], [{ gpa, lenBytes: 16 }])
    queue.kick()
    t.equal(queue.reap(TIMEOUT_MS)?.writtenBytes, 16)
    return Buffer.from(frontend.read(gpa, 16)).toString('hex')
  }
  const draws = new Set([draw(), draw(), draw()])
  t.equal(draws.size, 3, 'random bytes')
  frontend.close()
  t.equal(await exited, 0, 'serve returns when the front-end has left')
  for (const call of ['negotiate()', 'addQueue(64)', 'queue.submit(', 'queue.kick()', 'queue.reap(']) {
    t.ok(frontendCode.includes(call), `the front-end of the README calls ${call}`)
  }
})

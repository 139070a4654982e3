/** The code of the package's README does what the README says. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { sleep } from '../../support/device/device.js'
import { connectSoon } from '../../support/device/eager-frontend.js'
import { tempDir } from '../../support/host/temp-dir.js'

// From dist/test/unit/vhost-user back to the root.
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url))
const PACKAGE = join(ROOT, 'src/vhost-user')
const README = join(PACKAGE, 'README.md')
const TIMEOUT_MS = 20_000

const blocks = [...readFileSync(README, 'utf8').matchAll(/```js\n([\s\S]*?)```/g)].map(
  ([, code]) => code ?? '',
)
const [entropyDevice = '', slowProcess = '', fileDevice = '', frontendCode = ''] = blocks

/** The package is found from the repository, not from the temporary directory. */
const located = (code: string) =>
  code
    .replaceAll("'vhost-user-ts'", `'${join(PACKAGE, 'dist/index.js')}'`)
    .replaceAll("'vhost-user-ts/frontend'", `'${join(PACKAGE, 'dist/frontend/index.js')}'`)

/** Starts `code` as a program; returns the path of its socket, and its exit. */
function start(t: Test, code: string, ...args: string[]): { socketPath: string; exited: Promise<unknown[]> } {
  const directory = tempDir(t)
  const program = join(directory, 'device.mjs')
  writeFileSync(program, located(code))
  const socketPath = join(directory, 'socket')
  const device = spawn('env', ['-i', process.execPath, program, socketPath, ...args], { stdio: 'inherit' })
  t.teardown(() => device.kill('SIGKILL'))
  return { socketPath, exited: once(device, 'exit') }
}

/** What the device puts into buffers of 16 bytes, three times. */
async function draw(socketPath: string): Promise<string[]> {
  const frontend = await connectSoon(socketPath)
  frontend.negotiate()
  const queue = frontend.addQueue(64)
  const drawn = [1, 2, 3].map(() => {
    const gpa = frontend.allocate(16, 16)
    queue.submit([], [{ gpa, lenBytes: 16 }])
    queue.kick()
    const writtenBytes = queue.reap(TIMEOUT_MS)?.writtenBytes ?? 0
    return Buffer.from(frontend.read(gpa, writtenBytes)).toString('latin1')
  })
  frontend.close()
  return drawn
}

/** Returns when the socket is there. It does not connect: the first connection is the one that is served. */
async function waitForSocket(socketPath: string): Promise<void> {
  const endMs = performance.now() + TIMEOUT_MS
  while (!existsSync(socketPath) && performance.now() < endMs) await sleep(10)
}

t.test('every piece of code is tried here', async (t) => {
  t.equal(blocks.length, 4)
})

t.test('the entropy device runs', async (t) => {
  const { socketPath, exited } = start(t, entropyDevice)
  const drawn = await draw(socketPath)
  t.equal(new Set(drawn).size, 3, 'random bytes')
  t.ok(drawn.every((bytes) => bytes.length === 16))
  t.same(await exited, [0, null], 'it ends when the front-end has left')
})

t.test('the front-end runs', async (t) => {
  const { socketPath, exited } = start(t, entropyDevice)
  await waitForSocket(socketPath)
  const program = join(tempDir(t), 'frontend.mjs')
  const code = `const socketPath = ${JSON.stringify(socketPath)}\n${frontendCode}\nconsole.log(JSON.stringify(used))\nfrontend.close()`
  writeFileSync(program, located(code))
  const { stdout, stderr } = spawnSync('env', ['-i', process.execPath, program], { encoding: 'utf8' })
  t.match(stdout, /"writtenBytes":16/, stderr)
  t.same(await exited, [0, null])
})

t.test('the entropy device with a promise runs', async (t) => {
  const code = entropyDevice
    .replace(/ {2}process\(chain\) \{[\s\S]*?\n {2}\},\n/, `${slowProcess},\n`)
    .replace('const entropyDevice', "const source = 'data:,sixteen bytes hi'\nconst entropyDevice")
  t.match(code, 'await fetch(source)')
  const { socketPath, exited } = start(t, code)
  t.same(new Set(await draw(socketPath)), new Set(['sixteen bytes hi']))
  t.same(await exited, [0, null])
})

t.test('the device that reads a file runs', async (t) => {
  const path = join(tempDir(t), 'file')
  writeFileSync(path, 'of a file, 16 b.')
  const code = `
    import { openSync } from 'node:fs'
    import { FileIo, listen } from 'vhost-user-ts'
    const fd = openSync(process.argv[3])
    ${fileDevice.replace('// ...', "name: 'file', queueCount: 1,")}
    await listen(process.argv[2], device, { once: true }).closed`
  const { socketPath, exited } = start(t, code, path)
  t.same(new Set(await draw(socketPath)), new Set(['of a file, 16 b.']))
  t.same(await exited, [0, null])
})

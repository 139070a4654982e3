/** The code of docs/own-file-system.md runs as it is printed. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { contentOf, namesIn, serveModule } from '../../support/file-systems/module-guest.js'
import { Op } from '../../support/fuse/fuse-abi.js'
import { setattrArgs } from '../../support/fuse/fuse-args.js'
import { EMPTY } from '../../support/fuse/fuse-client.js'
import { u64 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { errorOf } from '../../support/fuse/refusals.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(240_000)

// From dist/test/frontend/own-file-systems back to the root.
const ROOT = fileURLToPath(new URL('../../../../', import.meta.url))
const { O_RDWR } = constants

const tutorial = readFileSync(join(ROOT, 'docs/own-file-system.md'), 'utf8')
const code = new Map(
  [...tutorial.matchAll(/```js\n\/\/ (\S+)\n([\s\S]*?)```/g)].map(([, name, text]) => [name, text ?? '']),
)

/** Writes a piece of the tutorial to a folder where its packages are found. */
function written(t: Test, name: string, change = (text: string) => text): string {
  const text = code.get(name)
  if (text === undefined) throw new Error(`the tutorial has no ${name}`)
  const path = join(ROOT, 'node_modules', `.tutorial-${process.pid}-${name}`)
  writeFileSync(path, change(text))
  t.teardown(() => rmSync(path))
  return path
}

t.test("the tutorial's first program, as it is printed", async (t) => {
  t.same([...code.keys()], ['hello.mjs', 'weather.mjs', 'notes.mjs', 'in-memory.mjs'])
  const socketPath = join(tempDir(t), 'hello.sock')
  const path = written(t, 'hello.mjs', (text) => text.replace('/tmp/hello.sock', socketPath))
  const child = spawn(process.execPath, [path], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [said] = await once(child.stdout, 'data')
  t.match(String(said), `QEMU may connect to ${socketPath}`)
  const guest = mount(t, { socketPath })
  t.equal(contentOf(guest, 'hello.txt'), 'Hello, guest!\n')
  t.equal(contentOf(guest, 'docs/readme.md'), '# Files that are not there\n')
})

t.test("the tutorial's modules, as they are printed", async (t) => {
  const { guest } = await serveModule(t, written(t, 'weather.mjs'), ['--cache', 'never'])
  t.equal(contentOf(guest, 'Oslo'), 'Oslo: 28 degrees\n')
  t.same(namesIn(guest), ['Oslo'])
  t.equal(
    errorOf(() => guest.lookup(1n, 'oslo')),
    'ENOENT',
  )
  const { guest: other } = await serveModule(t, written(t, 'in-memory.mjs'))
  t.equal(contentOf(other, 'greeting.txt'), 'from memfs\n')
})

t.test('notes are kept from one guest to the next', async (t) => {
  const file = join(tempDir(t), 'notes.json')
  const module = `${written(t, 'notes.mjs')}?file=${file}`
  const { guest: writer, program } = await serveModule(t, module)
  const { nodeid, handle } = writer.create(1n, 'a', O_RDWR)
  writer.write(nodeid, handle, 0, Buffer.from('0123456789'))
  writer.setattr(nodeid, { size: 4 })
  writer.write(nodeid, handle, 6, Buffer.from('end'))
  writer.flush(nodeid, handle)
  const gone = writer.create(1n, 'gone', O_RDWR)
  writer.flush(gone.nodeid, gone.handle)
  writer.unlink(1n, 'gone')
  writer.close()
  await program.exited
  const { guest: reader } = await serveModule(t, module)
  t.same(namesIn(reader), ['a'])
  t.equal(contentOf(reader, 'a'), '0123\0\0end')
})

t.test('notes that are closed at the same time are saved one after the other', async (t) => {
  const file = join(tempDir(t), 'notes.json')
  const { guest } = await serveModule(t, `${written(t, 'notes.mjs')}?file=${file}`)
  const { nodeid, handle } = guest.create(1n, 'a', O_RDWR)
  const flush = { opcode: Op.FLUSH, nodeid, args: u64(handle, 0, 0), reply: EMPTY }
  const cut = { opcode: Op.SETATTR, nodeid, args: setattrArgs({ size: 10 }), reply: { argBytes: 104 } }
  for (let round = 0; round < 40; round++) {
    guest.write(nodeid, handle, 0, Buffer.alloc(300_000, 'long'))
    for (const request of [flush, cut, flush]) guest.start(request)
    for (let n = 0; n < 3; n++) guest.finish()
    t.same(JSON.parse(readFileSync(file, 'utf8')), [['a', 'longlonglo']])
  }
})

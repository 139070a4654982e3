/** The examples of virtio-fs-ts, served by the program; the adapter for node:fs/promises. */
import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { constants, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { strToU8, zipSync } from 'fflate'
import t, { type Test } from 'tap'
import { RunningProgram, runProgram } from '../../support/device/program.js'
import { contentOf, namesIn, serveModule } from '../../support/file-systems/module-guest.js'
import { example, fixture, ServedModule } from '../../support/file-systems/served-module.js'
import { mount } from '../../support/fuse/mount.js'
import { errorOf } from '../../support/fuse/refusals.js'
import { tempDir } from '../../support/host/temp-dir.js'
import { pattern } from '../../support/pattern.js'

t.setTimeout(240_000)

const ROOT = fileURLToPath(new URL('../../../../', import.meta.url))
const CONFINED = ['--sandbox', 'namespace', '--seccomp', 'kill']
const { O_RDONLY, O_RDWR } = constants

t.test('a module is served in the sandbox, with its options and the shared directory', async (t) => {
  const directory = tempDir(t)
  const module = join(directory, 'told.mjs')
  writeFileSync(
    module,
    `export default (options, place) => ({
      root: { readdir: () => Object.entries({ ...options, ...place }).map((entry) => encodeURIComponent(entry.join(' '))) },
    })`,
  )
  const shared = tempDir(t)
  const { guest, program } = await serveModule(t, `${module}?a=1&b=x%20y`, [
    '--shared-dir',
    shared,
    ...CONFINED,
  ])
  t.match(await program.says('"confined"'), /"sandbox":"namespace".*"seccomp":"kill"/)
  t.same(namesIn(guest), ['a 1', 'b x y', `sharedDir ${shared}`].map(encodeURIComponent))
  guest.close()
  t.same(await program.exited, { status: 0, signal: null })
})

t.test('the program serves the memory example with traces, faults, rules and read-only', async (t) => {
  const { guest } = await serveModule(t, example('memory'), [
    '--inspect',
    '--fault',
    'opcode=UNLINK,errno=EBUSY',
  ])
  const { nodeid, handle } = guest.create(1n, 'a', O_RDWR)
  t.equal(guest.write(nodeid, handle, 0, Buffer.from('text')), 4)
  t.equal(
    errorOf(() => guest.unlink(1n, 'a')),
    'EBUSY',
  )
  guest.close()
  const { guest: reader } = await serveModule(t, example('memory'), ['--readonly'])
  t.equal(
    errorOf(() => reader.create(1n, 'a', O_RDWR)),
    'EROFS',
  )
})

t.test('a module that makes no file system is refused with the reason', async (t) => {
  const directory = tempDir(t)
  const nothing = join(directory, 'nothing.mjs')
  const broken = join(directory, 'broken.mjs')
  writeFileSync(nothing, 'export default {}')
  const rootless = join(directory, 'rootless.mjs')
  const misspelt = join(directory, 'misspelt.mjs')
  writeFileSync(broken, "throw new Error('a bug at the top')")
  writeFileSync(rootless, 'export default () => ({ root: () => ({}) })')
  writeFileSync(misspelt, 'export default () => ({ root: {')
  const noExport = join(directory, 'no-export.mjs')
  writeFileSync(noExport, 'export const root = {}')
  const run = (module: string) =>
    runProgram(['--file-system', module, '--socket-path', join(directory, 'socket'), '--sandbox', 'none'])
  t.match(run(join(directory, 'missing.mjs')).stderr, /--file-system .*missing.mjs: no such/)
  t.match(run(nothing).stderr, /the file system is \[object Object\], not an object with a root/)
  t.match(
    run(noExport).stderr,
    /no-export\.mjs has no default export, such as export default \(\) => \(\{ root \}\)/,
  )
  t.match(run(rootless).stderr, /root is a function, not a node/)
  t.match(
    run(misspelt).stderr,
    /misspelt\.mjs: Unexpected end of input; \\"node .*misspelt.mjs\\" shows where/,
  )
  t.match(run(broken).stderr, /a bug at the top/)
})

t.test('the git example serves a revision', async (t) => {
  const repository = tempDir(t)
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', repository, '-c', 'user.name=a', '-c', 'user.email=a@b', ...args])
  git('init', '-q')
  execFileSync('mkdir', [join(repository, 'sub')])
  writeFileSync(join(repository, 'sub/file'), 'committed\n')
  writeFileSync(join(repository, 'large'), pattern(500_000, 3))
  execFileSync('ln', ['-s', 'sub/file', join(repository, 'link')])
  git('add', '-A')
  git('commit', '-qm', 'one')
  writeFileSync(join(repository, 'sub/file'), 'changed since\n')
  const { guest } = await serveModule(t, `${example('git-revision')}?repository=${repository}`)
  t.same(namesIn(guest), ['large', 'link', 'sub'])
  t.equal(contentOf(guest, 'sub/file'), 'committed\n')
  t.equal(guest.readlink(guest.lookup(1n, 'link').nodeid), 'sub/file')
  const { nodeid, attr } = guest.lookup(1n, 'large')
  t.equal(attr.size, 500_000n)
  const { handle } = guest.open(nodeid, O_RDONLY)
  t.same(Buffer.from(guest.read(nodeid, handle, 0, 1 << 20)), Buffer.from(pattern(500_000, 3)))
})

t.test('the zip example serves an archive', async (t) => {
  const archive = join(tempDir(t), 'archive.zip')
  writeFileSync(
    archive,
    zipSync({ 'a.txt': strToU8('first\n'), dir: { 'b.txt': strToU8('second\n'.repeat(1000)) } }),
  )
  const { guest } = await serveModule(t, `${example('zip')}?archive=${archive}`)
  t.same(namesIn(guest), ['a.txt', 'dir'])
  t.equal(contentOf(guest, 'a.txt'), 'first\n')
  t.equal(contentOf(guest, 'dir/b.txt'), 'second\n'.repeat(1000))
})

t.test('the http example serves files of a web server', async (t) => {
  const content = Buffer.from(pattern(10_000, 5))
  const ranges: string[] = []
  const server = createServer(({ url, method, headers: { range } }, reply) => {
    if (url === '/list') return reply.end('["data", "gone"]')
    if (url !== '/data') return reply.writeHead(404).end()
    if (method === 'HEAD') return reply.writeHead(200, { 'content-length': content.length }).end()
    ranges.push(range ?? '')
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? []
    return reply.writeHead(206).end(content.subarray(Number(from), Number(to) + 1))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const module = `${example('http')}?url=${encodeURIComponent(`http://127.0.0.1:${port}/list`)}`
  const { socketPath, says } = await startUnconfined(t, module)
  // The guest that this test plays would block this thread, and with it the server.
  const script = `
    import t from 'tap'
    import { mount } from ${JSON.stringify(pathToFileURL(join(ROOT, 'dist/test/support/fuse/mount.js')).href)}
    t.test('range requests', async (t) => {
      const guest = mount(t, { socketPath: ${JSON.stringify(socketPath)} })
      const { nodeid, attr } = guest.lookup(1n, 'data')
      t.equal(attr.size, 10000n)
      const { handle } = guest.open(nodeid, 0)
      process.stderr.write(Buffer.from(guest.read(nodeid, handle, 4000, 100)).toString('hex'))
      t.throws(() => guest.lookup(1n, 'gone'), { code: 'ENOENT' })
    })`
  await says
  const file = join(ROOT, `node_modules/.http-guest-${process.pid}.mjs`)
  writeFileSync(file, script)
  t.teardown(() => rmSync(file))
  const { stderr } = await promisify(execFile)(process.execPath, [file])
  t.equal(stderr, content.subarray(4000, 4100).toString('hex'))
  t.same(ranges, ['bytes=4000-4099'])
})

async function startUnconfined(
  t: Test,
  module: string,
): Promise<{ socketPath: string; says: Promise<unknown> }> {
  const socketPath = join(tempDir(t), 'socket')
  const program = new RunningProgram(t, ['--file-system', module, '--socket-path', socketPath])
  return { socketPath, says: program.says('ready') }
}

t.test('the trickster example misleads the guest, and the device goes on', async (t) => {
  const { guest } = await serveModule(t, `${example('trickster')}?slowMs=50`)
  const { nodeid, attr } = guest.lookup(1n, 'shorter-than-it-says')
  const { handle } = guest.open(nodeid, O_RDONLY)
  t.ok(guest.read(nodeid, handle, 0, 1 << 16).length < Number(attr.size))
  const sizes = [1, 2, 3].map(() => guest.lookup(1n, 'grows-when-looked-at').attr.size)
  t.equal(new Set(sizes).size, 3)
  const generations = [1, 2].map(() => guest.lookup(1n, 'new-generation').generation)
  t.not(generations[0], generations[1])
  const modes = guest.lookup(1n, 'opens-another-way-each-time').nodeid
  const flags = [1, 2, 3, 4].map(() => guest.open(modes, O_RDWR).flags & 0b100_0011)
  t.same(flags, [0b100_0001, 0, 1, 2])
  t.equal(
    errorOf(() => contentOf(guest, 'fails-to-read')),
    'ESTALE',
  )
  t.equal(contentOf(guest, 'reads-slowly').length, 4096)
  t.equal(guest.lookup(1n, 'slow-to-find').attr.size, 4096n)
})

for (const kind of ['node', 'memfs', 'zenfs']) {
  t.test(
    `${kind} by its promises: files are made, written, renamed, linked, and open without a name`,
    async (t) => {
      const directory = tempDir(t)
      const device = await ServedModule.start(t, fixture('adapted-file-systems'), {
        make: { kind, directory },
      })
      const guest = mount(t, device)
      const { nodeid, handle, attr } = guest.create(1n, 'a', O_RDWR, 0o640)
      t.equal(attr.mode & 0o777, 0o640)
      const data = Buffer.from(pattern(100_000, 7))
      t.equal(guest.write(nodeid, handle, 0, data), data.length)
      t.same(Buffer.from(guest.read(nodeid, handle, 50_000, 100_000)), data.subarray(50_000))
      t.equal(guest.getattr(nodeid).attr.size, 100_000n)
      const sub = guest.mkdir(1n, 'sub').nodeid
      guest.rename(1n, 'a', sub, 'b')
      t.equal(guest.lookup(sub, 'b').nodeid, nodeid, 'the same inode')
      t.equal(
        errorOf(() => guest.lookup(1n, 'a')),
        'ENOENT',
      )
      t.equal(guest.setattr(nodeid, { size: 10 }).attr.size, 10n)
      t.equal(guest.setattr(nodeid, { mode: 0o600 }).attr.mode & 0o777, 0o600)
      guest.setattr(nodeid, { mtimeNs: 1_600_000_000_000_000_000n })
      t.equal(guest.getattr(nodeid).attr.mtimeNs / 1_000_000_000n, 1_600_000_000n)
      t.equal(guest.readlink(guest.symlink(1n, 'l', 'sub/b').nodeid), 'sub/b')
      if (kind !== 'zenfs') {
        t.equal(guest.link(nodeid, 1n, 'hard').nodeid, nodeid)
        guest.unlink(1n, 'hard')
      }
      // memfs does not remove one name of a hard link alone.
      if (kind === 'node') {
        const other = guest.create(1n, 'first', O_RDWR)
        guest.link(other.nodeid, sub, 'second')
        guest.unlink(1n, 'first')
        t.equal(guest.getattr(other.nodeid).attr.nlink, 1, 'reached by its other name')
        const third = guest.create(1n, 'a-third', O_RDWR)
        guest.release(third.nodeid, third.handle)
        guest.rename(1n, 'a-third', sub, 'second')
        t.equal(guest.getattr(other.nodeid).attr.size, 0n, 'and, replaced, by its open file')
        guest.release(other.nodeid, other.handle)
        guest.unlink(sub, 'second')
      }
      t.same(namesIn(guest), ['l', 'sub'])
      guest.unlink(sub, 'b')
      t.equal(
        errorOf(() => guest.lookup(sub, 'b')),
        'ENOENT',
      )
      if (kind !== 'zenfs')
        t.same(Buffer.from(guest.read(nodeid, handle, 0, 100)), data.subarray(0, 10), 'open without a name')
      guest.release(nodeid, handle)
      guest.rmdir(1n, 'sub')
      guest.unlink(1n, 'l')
      t.same(namesIn(guest), [])
    },
  )
}

t.test('the log reports a name that is listed without its node, in a directory without lookup', async (t) => {
  const module = join(tempDir(t), 'names.mjs')
  writeFileSync(module, "export default { root: { readdir: () => ['a'] } }")
  const { guest, program } = await serveModule(t, module)
  t.equal(
    errorOf(() => guest.lookup(1n, 'a')),
    'EIO',
  )
  t.equal(
    errorOf(() => guest.lookup(1n, 'b')),
    'ENOENT',
  )
  t.match(await program.says("lists 'a' without its node, and there is no lookup"), 'readdir() failed')
})

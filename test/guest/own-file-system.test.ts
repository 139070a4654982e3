/** File systems that a user writes, in real guests: everyday work with files in the memory example. */
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { strToU8, zipSync } from 'fflate'
import t, { type Test } from 'tap'
import type { Guest } from '../../vm/guest/guest.js'
import { example, fixture, ServedModule } from '../support/file-systems/served-module.js'
import { bootWith, expectQuietKernel, newerPairs, type Pair } from '../support/host/real-guest.js'
import { tempDir } from '../support/host/temp-dir.js'
import { pattern } from '../support/pattern.js'

const LONG_MS = 300_000

t.setTimeout(1_100_000)

const RUN = fileURLToPath(new URL('../../vm/run.js', import.meta.url))

t.test('make run says why a module serves nothing', async (t) => {
  const module = join(tempDir(t), 'module.mjs')
  writeFileSync(module, 'export const root = {}')
  const run = spawnSync(process.execPath, [RUN, '--file-system', module], { encoding: 'utf8' })
  t.equal(run.status, 2)
  t.match(run.stderr, /virtiofsd-ts ended with status 1 .*module\.mjs has no default export/)
})

/** Boots a guest that has mounted these modules' file systems by their tags. */
async function boot(
  t: Test,
  machine: Pair,
  served: Readonly<Record<string, ServedModule>>,
  programs: readonly 'fio'[] = [],
): Promise<Guest> {
  const more = Object.entries(served).map(([tag, { socketPath }]) => ({ tag, socketPath }))
  const guest = await bootWith(t, [], { ...machine, more, programs: [...programs] })
  for (const tag of Object.keys(served)) await guest.mount(tag, `/${tag}`)
  return guest
}

/** Files of every length around a page, with links, in the guest's own memory; copied in and compared. */
async function copyTree(t: Test, guest: Guest, at: string, files: number): Promise<void> {
  await guest.output(
    `mkdir -p /tmp/tree && cd /tmp/tree && text=$(printf '%4096s' x) && n=0 &&
     while [ $n -lt ${files} ]; do
       d=d$((n / 100)); [ -d $d ] || mkdir $d
       printf "%s %.$((n * 37 % 4000))s$text" $n "$text" > $d/file-$n; n=$((n + 1))
     done && ln -s d0/file-0 link && ln d0/file-1 hard`,
    { timeoutMs: LONG_MS },
  )
  await guest.output(`cp -a /tmp/tree ${at}/tree`, { timeoutMs: LONG_MS })
  // A directory's size is the file system's own; busybox does not copy the times of links.
  const sums = (path: string) =>
    guest.output(
      `cd ${path} && find . -type f | sort | xargs sha256sum &&
       find . -type f | sort | xargs stat -c '%n %a %h %s %Y' && find . -type d | sort | xargs stat -c '%n %a' &&
       find . -type l | sort | xargs stat -c '%n %s %N'`,
      { timeoutMs: LONG_MS },
    )
  const [own, copy] = [await sums('/tmp/tree'), await sums(`${at}/tree`)]
  t.ok(own.trim().split('\n').length > 2 * files)
  t.equal(copy, own, 'contents, modes, links, sizes and times')
  await guest.output(`rm -r ${at}/tree /tmp/tree`, { timeoutMs: LONG_MS })
  t.equal((await guest.output(`ls ${at}`)).trim(), '')
}

async function changeNames(t: Test, guest: Guest, at: string): Promise<void> {
  await guest.output(`cd ${at} && mkdir -p names/dir && echo one > names/a && mv names/a names/dir/b`)
  await guest.output(`cd ${at}/names && echo two > c && mv c dir/b && ln dir/b hard && ln -s dir/b soft`)
  t.equal(
    await guest.output(`cd ${at}/names && cat soft && stat -c %h hard && readlink soft`),
    'two\n2\ndir/b\n',
  )
  const refused = await guest.run(`cd ${at}/names && rmdir dir`)
  t.match(refused.stderr.toString(), /not empty/i)
  await guest.output(`cd ${at}/names && mv dir other && cat other/b && rm -r ${at}/names`)
}

/** The short example has no links, and files are whole arrays: what a tutorial's reader tries first. */
async function useScratch(t: Test, guest: Guest, at: string): Promise<void> {
  const script = `cd ${at} && mkdir -p a/b && chmod 777 a && n=0 &&
    while [ $n -lt 50 ]; do seq $((n * 40)) > a/b/$n; n=$((n + 1)); done &&
    cp -r a copy && diff -r a copy && mv copy/b/1 copy/b/2 && mv copy/b moved && ls moved | wc -l &&
    [ "$(tail -n 1 moved/2)" = 40 ] && ! rmdir moved 2>/dev/null && ! ln moved/2 hard 2>/dev/null &&
    echo more >> moved/3 && truncate -s 6 moved/3 && truncate -s 8 moved/3 && od -An -c moved/3 &&
    exec 3<>gone && rm gone && echo kept >&3 && cat /proc/self/fd/3 && rm -r a moved copy && ls`
  t.equal(await guest.output(script), '49\n   1  \\n   2  \\n   3  \\n  \\0  \\0\nkept\n')
}

async function changeSizes(t: Test, guest: Guest, at: string): Promise<void> {
  t.equal(
    await guest.output(
      `cd ${at} && printf 0123456789 > cut && truncate -s 4 cut && truncate -s 6 cut && od -An -c cut`,
    ),
    '   0   1   2   3  \\0  \\0\n',
  )
  const far = 4 * 1024 ** 3
  await guest.output(`cd ${at} && printf x | dd of=big bs=1 seek=${far} conv=notrunc 2>/dev/null`)
  t.equal(
    await guest.output(`dd if=${at}/big bs=1 skip=${far} 2>/dev/null; stat -c ' %s' ${at}/big`),
    `x ${far + 1}\n`,
  )
  const gone = `cd ${at} && exec 3<>gone && rm gone && printf kept >&3 &&
    [ "$(cat /proc/self/fd/3)" = kept ] && [ "$(stat -L -c %h,%s /proc/self/fd/3)" = 0,4 ] && chmod 600 /proc/self/fd/3`
  const { status, stderr } = await guest.run(gone)
  t.equal(status, 0, `a file without a name is written, read and changed: ${stderr}`)
  await guest.output(`rm ${at}/cut ${at}/big`)
}

const jobs = [
  '--ioengine=psync --rw=write --bs=128k',
  '--ioengine=psync --rw=randwrite --bs=4k',
  '--ioengine=libaio --iodepth=16 --direct=1 --rw=randwrite --bs=4k',
  '--ioengine=mmap --rw=randwrite --bs=4k',
]

async function verify(t: Test, guest: Guest, at: string): Promise<void> {
  for (const options of jobs) {
    const command = `fio --name=job --filename=${at}/fio --size=4M --verify=crc32c --verify_fatal=1 --do_verify=1 \
      --output-format=json --thread ${options}`
    const { jobs: done } = JSON.parse(await guest.output(command, { timeoutMs: LONG_MS })) as {
      jobs: { error: number; read: { io_bytes: number } }[]
    }
    t.equal(done[0]?.error, 0, options)
    t.ok((done[0]?.read.io_bytes ?? 0) > 0, 'verified')
  }
}

for (const machine of newerPairs) {
  t.test(`Linux ${machine.kernel}: the memory example`, async (t) => {
    const served = {
      auto: await ServedModule.start(t, example('memory'), { serve: { once: false } }),
      always: await ServedModule.start(t, example('memory'), { serve: { cache: 'always', writeback: true } }),
      never: await ServedModule.start(t, example('memory'), {
        serve: { cache: 'never', parallelDio: true, allowMmap: true },
      }),
      promised: await ServedModule.start(t, fixture('promised-memory')),
    }
    const guest = await boot(t, machine, served, ['fio'])
    for (const tag of Object.keys(served)) {
      await t.test(tag, async (t) => {
        await copyTree(t, guest, `/${tag}`, tag === 'auto' ? 5000 : 200)
        await changeNames(t, guest, `/${tag}`)
        await changeSizes(t, guest, `/${tag}`)
        await verify(t, guest, `/${tag}`)
      })
    }
    await guest.output('umount /auto')
    await served.auto.says(/unmounted/)
    await guest.mount('auto', '/auto')
    t.equal((await guest.output('ls /auto')).trim(), 'fio', 'what was written is still there')
    await expectQuietKernel(t, guest)
    await guest.shutdown()
  })
}

/** A repository with one commit, of which the working tree has changed since. */
function makeRepository(t: Test): string {
  const repository = tempDir(t)
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', repository, '-c', 'user.name=a', '-c', 'user.email=a@b', ...args])
  git('init', '-q')
  mkdirSync(join(repository, 'sub'))
  for (let n = 0; n < 50; n++) writeFileSync(join(repository, `sub/file-${n}`), pattern(n * 1000, n))
  git('add', '-A')
  git('commit', '-qm', 'one')
  for (let n = 0; n < 50; n++) writeFileSync(join(repository, `sub/file-${n}`), 'changed')
  return repository
}

/** A web server with one file; returns the address of its list. */
async function startServer(t: Test, content: Uint8Array): Promise<string> {
  const server = createServer(({ url, method, headers: { range } }, reply) => {
    if (url === '/list') return reply.end('["data"]')
    if (method === 'HEAD') return reply.writeHead(200, { 'content-length': content.length }).end()
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? '') ?? []
    return reply.writeHead(206).end(content.subarray(Number(from), Number(to) + 1))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  // A server at a TCP port has an address of this type.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/list`
}

const sumOf = (bytes: Uint8Array) =>
  execFileSync('sha256sum', { input: bytes, encoding: 'utf8' }).split(' ')[0] ?? ''

for (const machine of newerPairs) {
  t.test(`Linux ${machine.kernel}: every other example, and adapters`, async (t) => {
    const archive = join(tempDir(t), 'archive.zip')
    const data = pattern(300_000, 9)
    writeFileSync(archive, zipSync({ 'a.txt': strToU8('first\n'), dir: { data } }))
    const start = (name: string, make: object) => ServedModule.start(t, example(name), { make })
    const adapt = (kind: string) =>
      ServedModule.start(t, fixture('adapted-file-systems'), { make: { kind, directory: tempDir(t) } })
    const served = {
      scratch: await start('scratch', {}),
      git: await start('git-revision', { repository: makeRepository(t) }),
      zip: await start('zip', { archive }),
      http: await start('http', { url: await startServer(t, data) }),
      trickster: await start('trickster', { slowMs: 100 }),
      node: await adapt('node'),
      memfs: await adapt('memfs'),
      zenfs: await adapt('zenfs'),
    }
    const guest = await boot(t, machine, served)
    await useScratch(t, guest, '/scratch')
    for (const n of [0, 1, 49])
      t.match(await guest.output(`sha256sum /git/sub/file-${n}`), sumOf(pattern(n * 1000, n)))
    t.equal((await guest.output('find /git -type f | wc -l')).trim(), '50')
    t.equal(await guest.output('cat /zip/a.txt'), 'first\n')
    for (const path of ['/zip/dir/data', '/http/data'])
      t.match(await guest.output(`sha256sum ${path}`), sumOf(data), path)
    await guest.run(
      'cd /trickster; ls -l; for n in 1 2; do for f in * slow-to-find; do cat $f; done; done >/dev/null',
    )
    t.equal((await guest.output('wc -c < /trickster/honest')).trim(), '4096', 'after every trick')
    await changeNames(t, guest, '/node')
    await changeSizes(t, guest, '/node')
    await copyTree(t, guest, '/node', 200)
    // Neither removes one name of a hard link as Linux does.
    for (const at of ['/memfs', '/zenfs'])
      t.equal(
        await guest.output(
          `cd ${at} && mkdir d && echo text > d/a && mv d/a b && ln -s b c && cat c && rm -r b c d && ls`,
        ),
        'text\n',
      )
    await expectQuietKernel(t, guest)
    await guest.shutdown()
  })
}

/** Everyday work with files, in guests of every kernel: each side sees what the other did. */
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Guest } from '../../vm/guest/guest.js'
import {
  bootWith,
  expectQuietKernel,
  hashOf,
  pairs,
  type SharedDirectory,
  serve,
} from '../support/host/real-guest.js'
import { pattern } from '../support/pattern.js'

const TREE_FILES = 5_120
const FILES_PER_DIRECTORY = 64
const MANY_ENTRIES = 10_000
const LISTINGS = 4
const KIB = 1024
const GIB = KIB ** 3
const LONG_MS = 300_000

t.setTimeout(1_100_000)

/** Files of every length around a page, some links, on the host. */
function makeTree(path: string): void {
  for (let n = 0; n < TREE_FILES; n++) {
    const directory = join(path, `d${Math.floor(n / FILES_PER_DIRECTORY)}`, `sub ${n % 4}`)
    mkdirSync(directory, { recursive: true })
    writeFileSync(join(directory, `file-${n}`), pattern((n * 37) % 9_000, n), { mode: 0o600 + (n % 64) })
  }
  symlinkSync('d0/sub 0/file-0', join(path, 'link'))
  linkSync(join(path, 'd0/sub 1/file-1'), join(path, 'hard'))
}

/** Sums and modes of everything below a directory, as the host sees it. */
function describeTree(path: string): string[] {
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .map((name) => {
      const stat = statSync(join(path, name))
      return `${name} ${stat.mode.toString(8)} ${stat.nlink} ${stat.isFile() ? hashOf(join(path, name)) : ''}`
    })
    .sort()
}

async function copyTree(t: Test, guest: Guest, { path }: SharedDirectory): Promise<void> {
  const source = join(path, 'tree')
  makeTree(source)
  await guest.output('cp -a /files/tree /files/copy', { timeoutMs: LONG_MS })
  const listing = 'find . -type f -print0 | sort -z | xargs -0 sha256sum'
  const inGuest = await guest.output(`cd /files/copy && ${listing}`, { timeoutMs: LONG_MS })
  const lines = inGuest.trim().split('\n')
  t.ok(lines.length > TREE_FILES, `${lines.length} files`)
  const wrong = lines.filter((line) => {
    const [, sum, name] = /^(\w+) +(.*)$/.exec(line) ?? []
    return hashOf(join(source, name ?? '')) !== sum
  })
  t.same(wrong, [], 'the guest reads what the host wrote')
  const copied = describeTree(join(path, 'copy'))
  const isDirectory = / 4\d{4} /
  // A directory's links are not copied but counted; the hard link's partner is in the tree.
  t.same(
    copied.filter((line) => !isDirectory.test(line)),
    describeTree(source).filter((line) => !isDirectory.test(line)),
    'the host reads what the guest wrote, with modes and links',
  )
  await guest.output('rm -r /files/copy', { timeoutMs: LONG_MS })
  t.notOk(existsSync(join(path, 'copy')))
  rmSync(source, { recursive: true })
}

async function changeNames(t: Test, guest: Guest, { path }: SharedDirectory): Promise<void> {
  await guest.output('cd /files && mkdir names names/dir && echo one > names/a && mv names/a names/dir/b')
  t.equal(readFileSync(join(path, 'names/dir/b'), 'utf8'), 'one\n', 'renamed')
  await guest.output('cd /files/names && echo two > c && mv c dir/b && ln dir/b hard && ln -s dir/b soft')
  t.equal(readFileSync(join(path, 'names/soft'), 'utf8'), 'two\n', 'renamed over another, and linked')
  t.equal(statSync(join(path, 'names/hard')).nlink, 2)
  t.equal((await guest.output('readlink /files/names/soft')).trim(), 'dir/b')
  const long = 'n'.repeat(300)
  const refused = await guest.run(`cd /files/names && touch ${long}`)
  t.not(refused.status, 0)
  t.match(refused.stderr.toString(), /File name too long/)
  const longest = 'n'.repeat(255)
  await guest.output(`cd /files/names && touch ${longest}`)
  t.ok(existsSync(join(path, 'names', longest)))
}

async function changeSizes(t: Test, guest: Guest, { path }: SharedDirectory): Promise<void> {
  await guest.output('cd /files && printf 0123456789 > cut && truncate -s 4 cut && truncate -s 6 cut')
  t.same(readFileSync(join(path, 'cut')), Buffer.from('0123\0\0'))
  // One byte beyond 4 GiB, after a hole.
  await guest.output(`cd /files && printf x | dd of=big bs=1 seek=${4 * GIB} conv=notrunc 2>/dev/null`)
  t.equal(statSync(join(path, 'big')).size, 4 * GIB + 1)
  t.ok(statSync(join(path, 'big')).blocks < 1024, 'with a hole')
  t.equal(await guest.output(`dd if=/files/big bs=1 skip=${4 * GIB} 2>/dev/null`), 'x')
  t.equal((await guest.output(`stat -c %s /files/big`)).trim(), `${4 * GIB + 1}`)
  // Data at 1 MiB of 3 MiB.
  await guest.output(
    'cd /files && truncate -s 3M sparse && dd if=/dev/urandom of=sparse bs=64k count=1 seek=16 conv=notrunc 2>/dev/null',
  )
  t.equal((await guest.output('data-ranges /files/sparse')).trim(), `${1024 * KIB} ${64 * KIB}`)
  t.equal((await guest.output('sha256sum /files/sparse')).split(' ')[0], hashOf(join(path, 'sparse')))
}

async function useUnlinked(t: Test, guest: Guest, { path }: SharedDirectory): Promise<void> {
  const script = `cd /files && exec 3<>gone && rm gone && printf kept >&3 &&
    [ "$(cat /proc/self/fd/3)" = kept ] && [ "$(stat -L -c %h,%s /proc/self/fd/3)" = 0,4 ] && chmod 600 /proc/self/fd/3`
  const { status, stderr } = await guest.run(script)
  t.equal(status, 0, `a file without a name is written, read and changed: ${stderr}`)
  t.notOk(existsSync(join(path, 'gone')))
}

/** Listings while other entries come and go, made by both sides, name each entry that stays exactly once. */
async function listManyEntries(t: Test, guest: Guest, { path }: SharedDirectory): Promise<void> {
  const directory = join(path, 'many')
  mkdirSync(directory)
  for (let n = 0; n < MANY_ENTRIES; n++) writeFileSync(join(directory, `stay-${n}`), '')
  const guestChurn = guest.spawn(
    'cd /files/many; n=0; while :; do touch guest-$n; mv guest-$n moved-$n; rm moved-$n; n=$((n + 1)); done',
  )
  let churned = 0
  const hostChurn = setInterval(() => {
    for (let n = 0; n < 50; n++) {
      writeFileSync(join(directory, `host-${churned}`), '')
      if (churned >= 500) rmSync(join(directory, `host-${churned - 500}`))
      churned++
    }
  }, 20)
  try {
    for (let round = 0; round < LISTINGS; round++) {
      const command = round % 2 === 0 ? 'find .' : 'ls -l'
      const names = await guest.output(
        `cd /files/many && ${command} | sed 's/.*[ /]//' | grep ^stay- | sort | uniq -c | awk '{ n += $1; d++ } END { print n, d }'`,
        { timeoutMs: LONG_MS },
      )
      t.equal(names.trim(), `${MANY_ENTRIES} ${MANY_ENTRIES}`, command)
    }
  } finally {
    clearInterval(hostChurn)
    guestChurn.kill(9)
    await guestChurn.result
  }
  t.ok(churned > 500, `${churned} entries came and went on the host`)
  t.equal((await guest.output('ls /files/many | grep -c ^stay-')).trim(), `${MANY_ENTRIES}`)
}

async function mountAgain(t: Test, guest: Guest, { path }: SharedDirectory): Promise<void> {
  writeFileSync(join(path, 'before'), 'before')
  for (let round = 0; round < 3; round++) {
    await guest.output('umount /files')
    await guest.mount('files', '/files')
    t.equal(await guest.output('cat /files/before'), 'before')
  }
}

for (const { kernel, qemu } of pairs) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const share = await serve(t, 'files', ['--keep-alive'])
    const guest = await bootWith(t, [share], { kernel, qemu })
    await t.test('a tree of files is copied', (t) => copyTree(t, guest, share))
    await t.test('names', (t) => changeNames(t, guest, share))
    await t.test('sizes, holes and offsets beyond 4 GiB', (t) => changeSizes(t, guest, share))
    await t.test('a file without a name', (t) => useUnlinked(t, guest, share))
    await t.test('a directory of 10,000 entries', (t) => listManyEntries(t, guest, share))
    await t.test('unmounted and mounted again', (t) => mountAgain(t, guest, share))
    await expectQuietKernel(t, guest)

    await t.test('the guest reboots, the device stays', async (t) => {
      const { pid } = share.device
      await guest.reboot()
      await guest.mount('files', '/files')
      t.equal(await guest.output('cat /files/before'), 'before')
      await expectQuietKernel(t, guest)
      await guest.shutdown()
      const next = await bootWith(t, [share], { kernel, qemu })
      t.equal(await next.output('cat /files/before'), 'before', 'and takes the next QEMU')
      t.equal(share.device.pid, pid)
      await next.shutdown()
    })
  })
}

/** Names, modes, owners, times and open files on a share behave as on a local file system of the guest. */
import t from 'tap'
import { bootWith, expectQuietKernel, newerPairs, serve } from '../support/host/real-guest.js'

/** Options of each cache policy, and options that change if guest or device carries something out. */
const shares: Readonly<Record<string, readonly string[]>> = {
  never: ['--cache', 'never', '--allow-mmap', '--parallel-dio'],
  metadata: ['--cache', 'metadata', '--allow-mmap'],
  auto: [],
  always: ['--cache', 'always'],
  writeback: ['--cache', 'always', '--writeback'],
  plain: ['--no-xattr', '--inode-file-handles', 'never'],
  acl: ['--posix-acl', '--security-label', '--export'],
  remote: ['--posix-lock', '--flock'],
  killing: ['--no-killpriv-v2'],
}

/**
 * With write-back caching the guest's kernel keeps mtime and data. It does not send a truncation to the size that a file
 * has. The host cannot know where its data is, so a file is data up to its end (docs/coherency.md).
 */
const ofWriteback =
  /^((truncate\("t\/file", 10\) t\/file touches|lseek\(fd, (0|512 << 10), SEEK_(DATA|HOLE)\)):|lseek\(fd, \(512 << 10\) \+ 4096, SEEK_DATA\): 528384, not .*ENXIO$)/

/**
 * From 6.12 on the guest's kernel does not say who calls fallocate. A set-group-id bit without execution for the group
 * has no meaning. It must be cleared for callers of other groups, so it is cleared for members, too.
 */
const ofCallersWithoutNames = /^fallocate: 100666 1000:1000 links 1, not fallocate: 102666 /

t.setTimeout(900_000)

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel}`, async (t) => {
    const served = await Promise.all(Object.entries(shares).map(([tag, args]) => serve(t, tag, args)))
    const guest = await bootWith(t, served, { kernel, qemu })
    await guest.output('mkdir /own && mount -t tmpfs none /own && chmod 755 /own')
    const linesOf = async (directory: string) =>
      (
        await guest.output(`mkdir ${directory}/work && posix-semantics ${directory}/work`, {
          timeoutMs: 120_000,
        })
      )
        .trim()
        .split('\n')
    const own = await linesOf('/own')
    t.ok(own.length > 300, `${own.length} lines`)
    for (const { tag } of served) {
      const lines = await linesOf(`/${tag}`)
      const different = lines
        .flatMap((line, n) => (line === own[n] ? [] : [`${line}, not ${own[n]}`]))
        .filter((line) => tag !== 'writeback' || !ofWriteback.test(line))
        .filter((line) => !ofCallersWithoutNames.test(line))
      t.same(different, [], tag)
    }
    await expectQuietKernel(t, guest)
    await guest.shutdown()
  })
}

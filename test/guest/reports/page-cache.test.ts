/**
 * Every program of a guest sees data that is in the page cache and not yet on the host, and this data reaches the host:
 * with O_DIRECT handles beside it, in holes, in copies.
 */
import t from 'tap'
import { serveDebianRoot } from '../../../vm/device/debian-root.js'
import { bootWith, expectQuietKernel, newerPairs, serve } from '../../support/host/real-guest.js'

const BYTES = 100_000

const policies: Readonly<Record<string, readonly string[]>> = {
  never: ['--cache', 'never', '--allow-mmap', '--parallel-dio'],
  auto: [],
  always: ['--cache', 'always'],
  'auto-writeback': ['--cache', 'auto', '--writeback'],
  'keep-writeback': ['--cache', 'auto', '--keep-cache', '--writeback'],
  'always-writeback': ['--cache', 'always', '--writeback'],
}

/** The ways in which a program that holds the file open has put data into it: see vm/guest/programs/hold-dirty.c. */
const writers = ['written', 'hole', 'mapped']

/** Programs that ask where the data is before they copy a file. */
const copies: Readonly<Record<string, string>> = {
  cp: 'cp file /tmp/copy',
  'cp --sparse=always': 'cp --sparse=always file /tmp/copy',
  'cp within the share': 'cp file copy && cat copy > /tmp/copy',
  'tar -S': 'tar -cSf /tmp/tar file && tar -xOf /tmp/tar > /tmp/copy',
  'dd conv=sparse': 'dd if=file of=/tmp/copy conv=sparse bs=4k 2> /dev/null',
  cat: 'cat file > /tmp/copy',
}

/** Prints a line for each copy that is not whole. Each has a writer of its own. */
const script = (tag: string) => `
cd /mnt/${tag}
copy() {
  rm -f file copy file.ready /tmp/copy /tmp/tar
  # A hole of before, whose attributes the guest knows.
  truncate -s ${BYTES} file; stat file > /dev/null
  /run/hold-dirty $1 file ${BYTES} & writer=$!
  while [ ! -e file.ready ]; do sleep 0.02; done
  eval "$3" || echo "$1, $2: status $?"
  kill $writer; wait $writer 2> /dev/null
  whole=$(tr -cd c < /tmp/copy | wc -c)
  [ "$whole" = ${BYTES} ] || echo "$1, $2: $whole of ${BYTES}"
}
${writers
  .flatMap((how) => Object.entries(copies).map(([name, command]) => `copy ${how} '${name}' '${command}'`))
  .join('\n')}
`

t.setTimeout(1_200_000)

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel}`, async (t) => {
    const shares = await Promise.all(
      Object.entries(policies).map(([tag, args]) => serve(t, tag, ['--allow-direct-io', ...args])),
    )
    const root = await serveDebianRoot()
    t.teardown(() => root.stop())
    const guest = await bootWith(t, shares, { kernel, qemu, memoryMiB: 768, more: [root.share] })
    for (const { tag } of shares) {
      const lines = (await guest.output(`direct-tails /${tag}`)).trim().split('\n')
      t.same(
        lines.filter((line) => !line.startsWith('ok ')),
        [],
        `${tag}: tails beside O_DIRECT`,
      )
    }
    await guest.output('mkdir /shares && mount -t tmpfs none /shares')
    await root.enter(guest, '/shares')
    for (const { tag } of shares) {
      await guest.output(`mkdir /shares/${tag} && mount --bind /${tag} /debian/mnt/${tag}`)
      const wrong = await guest.output(root.command(script(tag)), { timeoutMs: 400_000 })
      t.equal(wrong, '', `${tag}: copies of a file that is being written`)
    }
    await expectQuietKernel(t, guest)
    await guest.shutdown()
  })
}

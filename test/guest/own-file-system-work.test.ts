/** Real work inside the memory example: a clone of a repository, a C build, extended attributes, holes. */
import t, { type Test } from 'tap'
import { type DebianRoot, serveDebianRoot } from '../../vm/device/debian-root.js'
import type { Guest } from '../../vm/guest/guest.js'
import { example, ServedModule } from '../support/file-systems/served-module.js'
import { bootWith, expectQuietKernel } from '../support/host/real-guest.js'

const LONG_MS = 900_000

t.setTimeout(1_100_000)

const GIT = 'git -c user.name=a -c user.email=a@b -c init.defaultBranch=main -c safe.directory=*'

/** Each returns its last line. */
const works: Readonly<Record<string, readonly [string, string]>> = {
  'git clone': [
    'clean',
    `mkdir origin && cd origin && ${GIT} init -q
     for n in 1 2 3 4 5 6 7 8 9; do mkdir -p d$((n % 7)); seq $((n * 500)) > d$((n % 7))/f$n; done
     ln -s d1/f1 link; ${GIT} add -A; ${GIT} commit -qm one
     for n in 1 2 3; do echo $n >> d1/f1; ${GIT} commit -qam "change $n"; done
     cd ..; ${GIT} clone -q origin linked; ${GIT} clone -q --no-hardlinks origin copied
     cd linked; ${GIT} checkout -q -b other HEAD~2; echo more >> d2/f2; ${GIT} commit -qam more
     ${GIT} merge -q --no-edit main; ${GIT} repack -qad; ${GIT} fsck --strict
     cd ../copied; ${GIT} pull -q ../linked other; diff -r --exclude .git . ../linked
     [ -z "$(${GIT} status --porcelain)" ] && echo clean`,
  ],
  'a C build': [
    '42 rebuilt',
    `mkdir c && cd c
     for n in $(seq 5); do printf '#include "all.h"\\nint part%s(void) { return %s; }\\n' $n $n > part$n.c; done
     printf 'int part1(void), part2(void), part3(void), part4(void), part5(void);\\n#define MORE 27\\n' > all.h
     printf '#include <stdio.h>\\n#include "all.h"\\nint main(void) {\\n' > main.c
     printf '  printf("%%d", part1() + part2() + part3() + part4() + part5() + MORE); return 0; }\\n' >> main.c
     printf 'CC = gcc\\nprog: main.o part1.o part2.o part3.o part4.o part5.o\\n\\t$(CC) -o $@ $^\\n%%.o: %%.c all.h\\n' > Makefile
     printf '\\t$(CC) -O2 -g -c -o $@ $<\\n' >> Makefile
     make -s -j2 && make -q && ./prog && touch all.h && ! make -q && make -s && echo ' rebuilt'`,
  ],
  'extended attributes': [
    'user.a="value" user.b=0sAAH/ security.c="s"',
    `touch x && setfattr -n user.a -v first x && setfattr -n user.a -v value x && setfattr -n user.b -v 0x0001ff x
     setfattr -n security.c -v s x && setfattr -n user.gone -v 1 x && setfattr -x user.gone x
     ! getfattr -n user.gone x 2>/dev/null && cp --preserve=all x y && mkdir d && setfattr -n user.d -v 1 d
     head -c 65000 /dev/zero | tr '\\0' v > value && setfattr -n user.big -v "$(cat value)" d
     ! setfacl -m u:1:r x 2>/dev/null
     [ "$(getfattr --only-values -n user.big d | wc -c)" = 65000 ]
     getfattr -d -m- y | tail -n +2 | grep = | sort -t. -k2 | tr '\\n' ' ' | sed 's/ $//'`,
  ],
  'sparse files': [
    '1048576000 64 same',
    `truncate -s 1000M sparse && printf middle | dd of=sparse bs=1 seek=500M conv=notrunc 2>/dev/null
     cp --sparse=always sparse copy && cmp -n 600M sparse copy && rm copy && tar -cSf t.tar sparse
     [ "$(stat -c %s t.tar)" -lt 200000 ]
     mkdir out && tar -xSf t.tar -C out && echo "$(stat -c %s out/sparse) $(du -k out/sparse | cut -f1) same"`,
  ],
}

async function work(t: Test, guest: Guest, root: DebianRoot): Promise<void> {
  for (const [name, [expected, script]] of Object.entries(works)) {
    const directory = name.replaceAll(' ', '-')
    const command = root.command(`set -e; mkdir /mnt/${directory}; cd /mnt/${directory}; ${script}`)
    const { status, stdout, stderr } = await guest.run(command, { timeoutMs: LONG_MS })
    t.equal(status, 0, `${name}: ${stderr}`)
    t.equal(stdout.toString().trimEnd().split('\n').at(-1), expected, name)
  }
}

for (const machine of [
  { kernel: '6.12', qemu: '10', serve: {} },
  { kernel: '7', qemu: '11', serve: { cache: 'always', writeback: true } },
]) {
  t.test(`Linux ${machine.kernel}: work inside the memory example`, async (t) => {
    const root = await serveDebianRoot()
    t.teardown(() => root.stop())
    const { kernel, qemu, serve } = machine
    const served = await ServedModule.start(t, example('memory'), { serve })
    const more = [{ tag: 'memory', socketPath: served.socketPath }, root.share]
    const guest = await bootWith(t, [], { kernel, qemu, more, memoryMiB: 1024 })
    await guest.mount('memory', '/memory')
    await root.enter(guest, '/memory')
    await work(t, guest, root)
    await expectQuietKernel(t, guest)
    await guest.shutdown()
  })
}

/**
 * What the host and two guests see of each other: each row of docs/coherency.md is a test of that name. Two guests of
 * Linux 6.12 mount the same directory under every cache policy. No test waits for a timeout: a change that must be seen
 * is seen at once, and what may stay is kept for a day.
 */
import { spawnSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DeviceProcess } from '../../vm/device/device-process.js'
import { bootGuest, type Guest } from '../../vm/guest/guest.js'
import { compileGuestPrograms } from '../../vm/guest/guest-programs.js'
import { expectQuietKernel } from '../support/host/real-guest.js'

const KERNEL = '6.12'
const LINES = 200
const LONG_MS = 200_000

/** The shares of each guest: a cache policy, by its options in the words of --share. */
const shares = {
  never: 'cache=never',
  metadata: 'cache=metadata',
  auto: 'cache=auto',
  always: 'cache=always',
  writeback: 'cache=always,writeback',
  mapped: 'cache=never,allow-mmap',
  fresh: 'cache=auto,attr-timeout=0,entry-timeout=0',
  absent: 'cache=auto,negative-timeout=86400',
  locked: 'cache=auto,flock,posix-lock',
} as const
type Tag = keyof typeof shares
const tags = Object.keys(shares) as Tag[]

t.setTimeout(600_000)

const home = mkdtempSync(join(tmpdir(), 'coherency-'))
t.teardown(() => rmSync(home, { recursive: true, force: true }))
/** The directory of the host that the guests see at /TAG. */
const host = (tag: Tag, name: string) => join(home, tag, name)
for (const tag of tags) mkdirSync(join(home, tag))

/** Boots a guest with all shares, from a device of its own. */
async function boot(name: string): Promise<Guest> {
  const sockets = tags.map((tag) => ({ tag, socketPath: join(home, `${name}-${tag}`) }))
  const words = sockets.map(({ tag, socketPath }) => [
    '--share',
    `tag=${tag},path=${join(home, tag)},socket=${socketPath},${shares[tag]}`,
  ])
  const idle = join(home, `${name}-idle`)
  mkdirSync(idle)
  const device = await DeviceProcess.start({
    device: 'virtiofsd-ts',
    sharedDir: idle,
    args: words.flat(),
  })
  const guest = await bootGuest({
    kernel: KERNEL,
    shares: [{ tag: 'idle', socketPath: device.socketPath }, ...sockets],
    memoryMiB: 256,
    cpus: 1,
  })
  t.teardown(async () => {
    await guest.kill()
    await device.stop()
  })
  for (const tag of tags) await guest.mount(tag, `/${tag}`)
  // Dirty pages are written only on request: not by a timer, and not because a device that has written nothing yet may
  // have only a few.
  await guest.output(
    `echo 0 > /proc/sys/vm/dirty_writeback_centisecs
     cd /sys/class/bdi/$(awk '$5 == "/writeback" { print $3 }' /proc/self/mountinfo)
     echo 0 > strict_limit; echo 100 > max_ratio; echo 90 > min_ratio`,
  )
  return guest
}

const programs = await compileGuestPrograms()
const [a, b] = await Promise.all([boot('a'), boot('b')])

/** A descriptor that a guest has opened and read from, and reads from again when told to. */
async function openReader(guest: Guest, path: string): Promise<() => Promise<string>> {
  const sign = `/tmp/${path.replaceAll('/', '-')}`
  const four = 'dd bs=1 count=4 <&3 2>/dev/null'
  const reading = guest.spawn(
    `exec 3<${path}; ${four} >/dev/null; touch ${sign}.read; until [ -e ${sign}.go ]; do sleep 0.05; done; ${four}`,
    { timeoutMs: LONG_MS },
  )
  await guest.output(`until [ -e ${sign}.read ]; do sleep 0.05; done`)
  return async () => {
    await guest.output(`touch ${sign}.go`)
    return (await reading.result).stdout.toString()
  }
}

/**
 * A descriptor that a guest has written to, and closes when told to. The shell does it with nothing but builtins: every
 * process that it would start would close a copy of the descriptor, and that writes back too.
 */
async function openWriter(guest: Guest, path: string, text: string): Promise<() => Promise<void>> {
  const sign = `/tmp/${path.replaceAll('/', '-')}`
  const writing = guest.spawn(
    `exec >${path}; printf ${text}; exec 3>${sign}.wrote; until [ -e ${sign}.go ]; do :; done; exec >&-`,
    { timeoutMs: LONG_MS },
  )
  await guest.output(`until [ -e ${sign}.wrote ]; do sleep 0.05; done`)
  return async () => {
    await guest.output(`touch ${sign}.go`)
    await writing.result
  }
}

async function each(
  t: Test,
  tested: readonly Tag[],
  check: (t: Test, tag: Tag) => Promise<void>,
): Promise<void> {
  for (const tag of tested) await t.test(tag, (t) => check(t, tag))
}

t.test('read: never and metadata read what the host has, through an open descriptor', async (t) => {
  await each(t, ['never', 'metadata', 'mapped'], async (t, tag) => {
    writeFileSync(host(tag, 'read'), 'old old ')
    const readAgain = await openReader(a, `/${tag}/read`)
    writeFileSync(host(tag, 'read'), 'new new ')
    t.equal(await readAgain(), 'new ')
  })
})

t.test('read: auto reads at an open what was written before it', async (t) => {
  await each(t, ['auto', 'fresh'], async (t, tag) => {
    writeFileSync(host(tag, 'open'), 'old old')
    t.equal(await a.output(`cat /${tag}/open`), 'old old')
    writeFileSync(host(tag, 'open'), 'new new')
    t.equal(await a.output(`cat /${tag}/open`), 'new new')
  })
})

t.test('read: always keeps what it has read, also at the next open', async (t) => {
  await each(t, ['always', 'writeback'], async (t, tag) => {
    writeFileSync(host(tag, 'kept'), 'old old')
    t.equal(await a.output(`cat /${tag}/kept`), 'old old')
    writeFileSync(host(tag, 'kept'), 'new new')
    t.equal(await a.output(`cat /${tag}/kept`), 'old old')
    await a.output('echo 3 > /proc/sys/vm/drop_caches')
    t.equal(await a.output(`cat /${tag}/kept`), 'new new', 'unless it forgets')
  })
})

t.test('write: the host has what was written when write returns', async (t) => {
  await each(t, ['never', 'metadata', 'auto', 'always', 'mapped', 'fresh'], async (t, tag) => {
    const close = await openWriter(a, `/${tag}/written`, 'text')
    t.equal(readFileSync(host(tag, 'written'), 'utf8'), 'text')
    await close()
  })
})

t.test('write: with writeback the host has it at close or sync', async (t) => {
  for (const name of ['close', 'sync']) {
    const path = host('writeback', name)
    const close = await openWriter(a, `/writeback/${name}`, 'text')
    t.equal(readFileSync(path, 'utf8'), '', 'until then it may have nothing')
    if (name === 'sync') await a.output('sync')
    else await close()
    t.equal(readFileSync(path, 'utf8'), 'text', name)
    await close()
  }
})

t.test('mmap: the host has what a shared mapping holds at msync', async (t) => {
  await each(t, ['mapped', 'auto', 'always', 'writeback'], async (t, tag) => {
    await a.output(`mmap-write /${tag}/map mapped`)
    t.equal(readFileSync(host(tag, 'map'), 'utf8'), 'mapped')
  })
})

t.test('size: never, and attr-timeout 0, ask each time', async (t) => {
  await each(t, ['never', 'mapped', 'fresh'], async (t, tag) => {
    writeFileSync(host(tag, 'size'), '1234')
    t.equal(await a.output(`stat -c %s /${tag}/size`), '4\n')
    truncateSync(host(tag, 'size'), 1)
    t.equal(await a.output(`stat -c %s /${tag}/size`), '1\n')
  })
})

t.test('size: metadata and always keep it for a day', async (t) => {
  await each(t, ['metadata', 'always', 'writeback'], async (t, tag) => {
    writeFileSync(host(tag, 'size'), '1234')
    t.equal(await a.output(`stat -c %s /${tag}/size`), '4\n')
    truncateSync(host(tag, 'size'), 1)
    t.equal(await a.output(`stat -c %s /${tag}/size`), '4\n')
  })
})

t.test('names: one that the host makes is found at once', async (t) => {
  const tested = tags.filter((tag) => tag !== 'absent')
  await each(t, tested, async (t, tag) => {
    t.equal((await a.run(`stat /${tag}/made`)).status, 1)
    writeFileSync(host(tag, 'made'), '')
    await a.output(`stat /${tag}/made`)
    t.pass('found')
  })
})

t.test('names: with negative-timeout an absent one stays absent', async (t) => {
  t.equal((await a.run('stat /absent/made')).status, 1)
  writeFileSync(host('absent', 'made'), '')
  t.equal((await a.run('stat /absent/made')).status, 1)
  // But creating it shows that it exists, whatever it is.
  writeFileSync(host('absent', 'linked-to'), 'text')
  t.equal((await a.run('stat /absent/link')).status, 1)
  symlinkSync('linked-to', host('absent', 'link'))
  t.equal(await a.output('echo more >> /absent/link && cat /absent/link'), 'textmore\n')
})

t.test('names: never, and entry-timeout 0, miss one that the host removed', async (t) => {
  await each(t, ['never', 'mapped', 'fresh'], async (t, tag) => {
    writeFileSync(host(tag, 'gone'), '')
    await a.output(`stat /${tag}/gone`)
    rmSync(host(tag, 'gone'))
    t.equal((await a.run(`stat /${tag}/gone`)).status, 1)
  })
})

t.test('names: metadata and always keep one that the host removed', async (t) => {
  await each(t, ['metadata', 'always', 'writeback'], async (t, tag) => {
    writeFileSync(host(tag, 'gone'), 'text')
    await a.output(`stat /${tag}/gone`)
    rmSync(host(tag, 'gone'))
    t.equal((await a.run(`stat /${tag}/gone`)).status, 0, 'to those that only look')
    t.equal((await a.run(`cat /${tag}/gone`)).status, 1, 'but not to those that open it')
  })
})

t.test('names: auto, metadata and always write into no file that the host removed', async (t) => {
  await each(t, ['metadata', 'auto', 'always', 'writeback'], async (t, tag) => {
    for (const [name, replaced] of [
      ['removed', false],
      ['replaced', true],
    ] as const) {
      writeFileSync(host(tag, name), 'text')
      await a.output(`stat /${tag}/${name}`)
      if (replaced) writeFileSync(host(tag, 'new'), 'host ')
      if (replaced) renameSync(host(tag, 'new'), host(tag, name))
      else rmSync(host(tag, name))
      await a.output(`echo guest >> /${tag}/${name} && sync`)
      t.equal(readFileSync(host(tag, name), 'utf8'), replaced ? 'host guest\n' : 'guest\n')
    }
  })
})

t.test('listings: never and auto read the directory each time', async (t) => {
  await each(t, ['never', 'mapped', 'auto', 'fresh'], async (t, tag) => {
    mkdirSync(host(tag, 'listed'))
    writeFileSync(host(tag, 'listed/first'), '')
    t.equal(await a.output(`ls /${tag}/listed`), 'first\n')
    writeFileSync(host(tag, 'listed/second'), '')
    t.equal(await a.output(`ls /${tag}/listed`), 'first\nsecond\n')
  })
})

t.test('listings: metadata and always keep them', async (t) => {
  await each(t, ['metadata', 'always', 'writeback'], async (t, tag) => {
    mkdirSync(host(tag, 'listed'))
    writeFileSync(host(tag, 'listed/first'), '')
    // The kernel keeps a listing only if one reader has read it from its start to its end.
    for (let n = 0; n < 2; n++) t.equal(await a.output(`ls /${tag}/listed`), 'first\n')
    writeFileSync(host(tag, 'listed/second'), '')
    t.equal(await a.output(`ls /${tag}/listed`), 'first\n')
    t.equal(await a.output(`stat -c %n /${tag}/listed/second`), `/${tag}/listed/second\n`, 'yet it is found')
  })
})

t.test(
  'two guests: never and metadata read what the other has written, through an open descriptor',
  async (t) => {
    await each(t, ['never', 'metadata', 'mapped'], async (t, tag) => {
      await a.output(`printf 'old old ' > /${tag}/both`)
      const readAgain = await openReader(b, `/${tag}/both`)
      await a.output(`printf 'new new ' > /${tag}/both`)
      t.equal(await readAgain(), 'new ')
    })
  },
)

t.test('two guests: auto reads at an open what the other has written before it', async (t) => {
  await each(t, ['auto', 'fresh'], async (t, tag) => {
    await a.output(`printf old > /${tag}/both`)
    t.equal(await b.output(`cat /${tag}/both`), 'old')
    await a.output(`printf new | dd of=/${tag}/both conv=notrunc 2>/dev/null`)
    t.equal(await b.output(`cat /${tag}/both`), 'new')
    await b.output(`printf two | dd of=/${tag}/both conv=notrunc 2>/dev/null`)
    t.equal(await a.output(`cat /${tag}/both`), 'two')
  })
})

t.test('two guests: always keeps what it has read', async (t) => {
  await each(t, ['always', 'writeback'], async (t, tag) => {
    await a.output(`printf old > /${tag}/both`)
    t.equal(await b.output(`cat /${tag}/both`), 'old')
    await a.output(`printf new | dd of=/${tag}/both conv=notrunc 2>/dev/null`)
    t.equal(await b.output(`cat /${tag}/both`), 'old')
    t.equal(readFileSync(host(tag, 'both'), 'utf8'), 'new', 'the host has it')
  })
})

t.test('two guests: appended lines are whole and none is lost', async (t) => {
  await each(t, ['never', 'metadata', 'auto', 'always'], async (t, tag) => {
    const append = (guest: Guest, name: string) =>
      guest.output(
        `n=0; while [ $n -lt ${LINES} ]; do echo "line of ${name}" >> /${tag}/log; n=$((n+1)); done`,
        {
          timeoutMs: LONG_MS,
        },
      )
    await Promise.all([append(a, 'a'), append(b, 'b')])
    const lines = readFileSync(host(tag, 'log'), 'utf8').trim().split('\n')
    t.equal(lines.filter((line) => line === 'line of a').length, LINES)
    t.equal(lines.filter((line) => line === 'line of b').length, LINES)
    t.equal(lines.length, 2 * LINES)
    t.equal(statSync(host(tag, 'log')).size, 2 * LINES * 'line of a\n'.length)
  })
})

type LockKind = 'flock' | 'fcntl'

/** A guest that holds a lock until it is told to let it go. */
async function holdLock(guest: Guest, kind: LockKind, path: string): Promise<() => Promise<void>> {
  const sign = `/tmp/${path.replaceAll('/', '-')}-${kind}`
  const held = guest.spawn(
    `lock-file ${kind} ${path} sh -c 'touch ${sign}.held; until [ -e ${sign}.go ]; do sleep 0.05; done'`,
    { timeoutMs: LONG_MS },
  )
  await guest.output(`until [ -e ${sign}.held ]; do sleep 0.05; done`)
  return async () => {
    await guest.output(`touch ${sign}.go`)
    await held.result
  }
}

/** Returns 0 if the lock was free, 1 if somebody holds it. */
async function tryLock(guest: Guest, kind: LockKind, path: string): Promise<number | null> {
  return (await guest.run(`lock-file ${kind} ${path} true`)).status
}

/** Tries the same on the host. */
function tryHostLock(kind: LockKind, path: string): number | null {
  return spawnSync(join(programs, 'lock-file'), [kind, path, 'true']).status
}

t.test('locks: with flock and posix-lock one guest keeps the other and the host out', async (t) => {
  for (const kind of ['flock', 'fcntl'] as const) {
    await t.test(kind, async (t) => {
      const release = await holdLock(a, kind, '/locked/lock')
      t.equal(await tryLock(b, kind, '/locked/lock'), 1)
      t.equal(tryHostLock(kind, host('locked', 'lock')), 1)
      await release()
      t.equal(await tryLock(b, kind, '/locked/lock'), 0)
      t.equal(tryHostLock(kind, host('locked', 'lock')), 0)
    })
  }
})

t.test('locks: without them they hold inside one guest', async (t) => {
  for (const kind of ['flock', 'fcntl'] as const) {
    await t.test(kind, async (t) => {
      const release = await holdLock(a, kind, '/auto/lock')
      t.equal(await tryLock(a, kind, '/auto/lock'), 1)
      t.equal(await tryLock(b, kind, '/auto/lock'), 0)
      t.equal(tryHostLock(kind, host('auto', 'lock')), 0)
      await release()
    })
  }
})

t.test('no guest has warned of anything', async (t) => {
  for (const guest of [a, b]) await expectQuietKernel(t, guest)
})

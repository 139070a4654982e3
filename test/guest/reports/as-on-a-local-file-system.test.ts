/**
 * Locks end and conflict in a guest as on a local file system, and so do files work whose modes forbid something to their
 * owner: the same program prints the same on both.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { serveDebianRoot } from '../../../vm/device/debian-root.js'
import { DeviceProcess } from '../../../vm/device/device-process.js'
import { policies } from '../../support/device/users.js'
import { bootWith, expectQuietKernel, newerPairs } from '../../support/host/real-guest.js'

t.setTimeout(900_000)

const ORDINARY_ID = 1234

/** Prints a line for each behaviour of locks on a local file system. */
const LOCKS = `
import errno, fcntl, os, struct, sys, time
d = sys.argv[1]
OFD_GETLK, OFD_SETLK = 36, 37

def outcome(work):
    try:
        work()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]

def ofd(fd, kind=fcntl.F_WRLCK):
    return outcome(lambda: fcntl.fcntl(fd, OFD_SETLK, struct.pack("hhqqi4x", kind, 0, 100, 1, 0)))

def posix(fd, kind=fcntl.LOCK_EX):
    return outcome(lambda: fcntl.lockf(fd, kind | fcntl.LOCK_NB, 1, 100))

def fresh(name, mode=0o644, count=3, flags=os.O_RDWR):
    path = d + "/" + name
    fds = [os.open(path, os.O_CREAT | os.O_EXCL | flags, mode)]
    return path, fds + [os.open(path, os.O_RDWR) for _ in range(count - 1)]

def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        time.sleep(100)
    time.sleep(0.7)
    return pid

def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    time.sleep(0.3)

path, (a, b, c) = fresh("closed")
print("OFD:", ofd(a), ofd(b), end=" ")
os.close(a)
print("closed", ofd(b))

path, (a, b, c) = fresh("killed")
pid = child(lambda: ofd(os.open(path, os.O_RDWR)))
print("holder lives:", ofd(b), end=" ")
end(pid)
print("killed:", ofd(b))

path, (a, b, c) = fresh("duplicate")
ofd(a)
again = os.dup(a)
os.close(a)
print("a duplicate keeps it:", ofd(b), end=" ")
os.close(again)
print("then", ofd(b))

path, (a, b, c) = fresh("another")
ofd(a)
os.close(c)
print("closing another descriptor keeps OFD:", ofd(b))
path, (a, b, c) = fresh("drops")
posix(a)
os.close(c)
pid = child(lambda: os._exit(0 if posix(b) == "ok" else 1))
print("and drops POSIX:", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

path, (a, b, c) = fresh("both")
ofd(a)
print("POSIX beside OFD:", posix(b))
found = struct.unpack("hhqqi4x", fcntl.fcntl(b, OFD_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)))
print("in the way:", found[0], found[2], found[3])

path, (a, b, c) = fresh("unlinked")
ofd(a)
os.unlink(path)
os.close(a)
print("unlinked:", ofd(b))

path, (a, b, c) = fresh("posix")
pid = child(lambda: posix(os.open(path, os.O_RDWR)))
print("POSIX, holder lives:", posix(b), end=" ")
end(pid)
print("killed:", posix(b))

path, (a, b, c) = fresh("inherited")
pid = child(lambda: posix(a))
print("of a child on the same open file:", posix(a), end=" ")
end(pid)
print("gone:", posix(a))

path, (a, b, c) = fresh("flock")
fcntl.flock(a, fcntl.LOCK_EX)
again = os.dup(a)
os.close(a)
print("flock:", outcome(lambda: fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)), end=" ")
os.close(again)
print("then", outcome(lambda: fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)))

os.setgid(1234)
os.setuid(1234)
for mode in (0o444, 0o400, 0o200, 0o222, 0o100, 0, 0o644):
    for name, flags in (("RDWR", os.O_RDWR), ("WRONLY", os.O_WRONLY), ("RDONLY", os.O_RDONLY)):
        path, (a,) = fresh("%o%s" % (mode, name), mode, 1, flags)
        lines = [posix(a), posix(a, fcntl.LOCK_SH), ofd(a), outcome(lambda: fcntl.flock(a, fcntl.LOCK_EX))]
        os.fchmod(a, 0o444)
        print("%04o %s:" % (mode, name), *lines, posix(a))
        os.close(a)
`

/** Prints what an owner, without any capability, can do with files of each mode. */
const MODES = `
import errno, fcntl, mmap, os, struct, sys
os.chdir(sys.argv[1])
os.umask(0)
for uid in sys.argv[2:]:
    os.setgid(int(uid))
    os.setuid(int(uid))

def outcome(work):
    try:
        result = work()
        return "ok" if result is None else repr(result)
    except OSError as error:
        return errno.errorcode[error.errno]
    except ValueError:
        return "too short"

def store(fd):
    with mmap.mmap(fd, 3) as memory:
        memory[1:2] = b"m"
        memory.flush()

def with_open(fd):
    return [
        outcome(lambda: os.pread(fd, 100, 0)),
        outcome(lambda: os.pwrite(fd, b"W", 2)),
        outcome(lambda: os.write(fd, b"+")),
        outcome(lambda: store(fd)),
        outcome(lambda: mmap.mmap(fd, 3, prot=mmap.PROT_READ).close()),
        outcome(lambda: os.posix_fallocate(fd, 0, 8)),
        outcome(lambda: os.ftruncate(fd, 6)),
        outcome(lambda: os.lseek(fd, 0, os.SEEK_DATA)),
        outcome(lambda: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
        outcome(lambda: fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)),
        outcome(lambda: fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 10, 1, 0)) and None),
        outcome(lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
        outcome(lambda: os.fsync(fd)),
        outcome(lambda: os.utime(fd, (1, 1))),
        os.fstat(fd).st_size,
    ]

def close(fd, path):
    os.close(fd)
    os.chmod(path, 0o600)
    with open(path, "rb") as f:
        print("   ", f.read())
    os.unlink(path)

RD, WR, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
ways = dict(read=RD, write=WR, both=RW, append=WR | os.O_APPEND, truncate=WR | os.O_TRUNC, tread=RD | os.O_TRUNC, path=os.O_PATH)
for mode in [0o200, 0o400, 0, 0o600, 0o044, 0o066]:
    for name, flags in ways.items():
        path = "%o-%s" % (mode, name)
        with open(path, "w") as f: f.write("some text")
        os.chmod(path, mode)
        fd = -1
        try:
            fd = os.open(path, flags)
            print(path, *([] if name == "path" else with_open(fd)))
        except OSError as error:
            print(path, errno.errorcode[error.errno])
        by_path = [
            outcome(lambda: os.truncate(path, 3)),
            outcome(lambda: os.utime(path, (2, 2))),
            outcome(lambda: os.utime(path)),
            *[os.access(path, how) for how in (os.R_OK, os.W_OK, os.X_OK)],
            outcome(lambda: os.setxattr(path, "user.a", b"1")),
            outcome(lambda: os.getxattr(path, "user.a")),
            outcome(lambda: os.link(path, path + "+")),
            outcome(lambda: os.rename(path + "+", path)),
            outcome(lambda: os.unlink(path + "+")),
        ]
        print("   ", *by_path)
        close(fd if fd >= 0 else os.open(".", RD), path)
    for name in ["read", "write", "both"]:
        path = "made-%o-%s" % (mode, name)
        fd = os.open(path, ways[name] | os.O_CREAT | os.O_EXCL, mode)
        print(path, *with_open(fd), *with_open(fd))
        close(fd, path)
    os.mkdir("d", mode)
    print("directory", outcome(lambda: os.listdir("d")), outcome(lambda: os.close(os.open("d/f", RW | os.O_CREAT))))
    os.rmdir("d")
`

/** Runs a program in the guest as a user who has no capability, root included. */
const asUser = (user: number) => [
  'setpriv',
  `--reuid=${user}`,
  `--regid=${user}`,
  '--clear-groups',
  '--bounding-set=-all',
  'python3',
]

/** The lines of a local file system. */
function expected(text: string, ...more: readonly string[]): string {
  const path = mkdtempSync(join(tmpdir(), 'local-'))
  chmodSync(path, 0o777)
  try {
    const { stdout, stderr } = spawnSync('python3', ['-c', text, path, ...more], { encoding: 'utf8' })
    if (stderr !== '') throw new Error(stderr)
    return stdout
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

const MAP_TO_ME = '--map-to-me'
const ways = [
  ...Object.entries(policies).map(([name, args]) => ({ tag: name, args, isOrdinary: false })),
  { tag: 'ordinary', args: ['--cache', 'auto'], isOrdinary: true },
  { tag: 'ordinary-never', args: policies['never']!, isOrdinary: true },
  { tag: 'ordinary-write-back', args: ['--cache', 'always', '--writeback'], isOrdinary: true },
  { tag: 'mapped', args: [MAP_TO_ME, '--cache', 'auto', '--writeback'], isOrdinary: true },
]

const root = await serveDebianRoot()
t.teardown(() => root.stop())

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel}`, async (t) => {
    const shares = []
    for (const { tag, args, isOrdinary } of ways) {
      const place = mkdtempSync(join(tmpdir(), 'guest-share-'))
      const path = join(place, 'share')
      mkdirSync(path)
      chmodSync(path, 0o777)
      if (isOrdinary) for (const owned of [place, path]) chownSync(owned, ORDINARY_ID, ORDINARY_ID)
      const device = await DeviceProcess.start({
        device: 'virtiofsd-ts',
        sharedDir: path,
        socketPath: join(place, 'socket'),
        args: ['--posix-lock', '--flock', ...(isOrdinary ? ['--sandbox', 'none'] : []), ...args],
        under: isOrdinary
          ? ['setpriv', `--reuid=${ORDINARY_ID}`, `--regid=${ORDINARY_ID}`, '--clear-groups']
          : [],
      })
      t.teardown(async () => {
        const { status } = await device.stop()
        if (status !== 0) t.fail(`the device of ${tag} ended with ${status}:\n${device.log.join('\n')}`)
        rmSync(place, { recursive: true, force: true })
      })
      shares.push({ tag, path, device })
    }
    for (const [name, text] of Object.entries({ locks: LOCKS, modes: MODES }))
      writeFileSync(join(shares[0]!.path, name), text)
    const guest = await bootWith(t, shares, { kernel, qemu, more: [root.share] })
    await root.enter(guest, `/${ways[0]!.tag}`)
    for (const { tag } of ways)
      await guest.output(`mkdir -p /debian/tmp/${tag} && mount --bind /${tag} /debian/tmp/${tag}`)
    const print = async (tag: string, program: string, command: readonly string[]) => {
      await guest.output(`mkdir -m 777 /${tag}/${program}.d`)
      const line = `${command.join(' ')} /mnt/${program} /tmp/${tag}/${program}.d 2>&1`
      return guest.output(root.command(line), { timeoutMs: 200_000 })
    }
    const [locks, modes] = [expected(LOCKS), expected(MODES, `${ORDINARY_ID}`)]
    for (const { tag, args, isOrdinary } of ways) {
      // The guest sees the files of a mapped share as root's.
      const isMapped = args.includes(MAP_TO_ME)
      if (!isMapped) t.equal(await print(tag, 'locks', ['python3']), locks, `${tag}: locks`)
      if (isOrdinary)
        t.equal(await print(tag, 'modes', asUser(isMapped ? 0 : ORDINARY_ID)), modes, `${tag}: modes`)
    }
    await expectQuietKernel(t, guest)
  })
}

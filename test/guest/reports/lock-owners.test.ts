/** Locks in a guest end and conflict as on a local file system: the same program prints the same on both. */
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
const PROGRAM = `
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

/** The lines of a local file system. */
function expected(): string {
  const path = mkdtempSync(join(tmpdir(), 'locks-'))
  chmodSync(path, 0o777)
  try {
    const { stdout, stderr } = spawnSync('python3', ['-c', PROGRAM, path], { encoding: 'utf8' })
    if (stderr !== '') throw new Error(stderr)
    return stdout
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

const ways = [
  ...Object.entries(policies).map(([name, args]) => ({ tag: name, args, isOrdinary: false })),
  { tag: 'ordinary', args: ['--cache', 'auto'], isOrdinary: true },
  { tag: 'ordinary-write-back', args: ['--cache', 'always', '--writeback'], isOrdinary: true },
]

const root = await serveDebianRoot()
t.teardown(() => root.stop())

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel}`, async (t) => {
    const onHost = expected()
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
    writeFileSync(join(shares[0]!.path, 'program.py'), PROGRAM)
    const guest = await bootWith(t, shares, { kernel, qemu, more: [root.share] })
    await root.enter(guest, `/${ways[0]!.tag}`)
    for (const { tag } of ways) {
      await guest.output(`mkdir -p /debian/tmp/${tag} && mount --bind /${tag} /debian/tmp/${tag}`)
      await guest.output(`mkdir -m 777 /${tag}/d`)
      t.equal(await guest.output(root.command(`python3 /mnt/program.py /tmp/${tag}/d 2>&1`)), onHost, tag)
    }
    await expectQuietKernel(t, guest)
  })
}

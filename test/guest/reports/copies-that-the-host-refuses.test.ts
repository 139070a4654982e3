/** A copy that the host cannot make (another file system, no support) is made by the guest, whole, by every way to copy. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { serveDebianRoot } from '../../../vm/device/debian-root.js'
import { DeviceProcess } from '../../../vm/device/device-process.js'
import { isRoot } from '../../support/device/cases.js'
import { bootWith, expectQuietKernel, newerPairs } from '../../support/host/real-guest.js'

const COPIES = 'COPY_FILE_RANGE+COPY_FILE_RANGE_64'

/** How the host refuses: options of the device, and true if a second file system is mounted at sub/. */
const shares: Readonly<Record<string, { args: readonly string[]; hasTwo?: boolean }>> = {
  accepted: { args: [] },
  unsupported: { args: ['--fault', `opcode=${COPIES},errno=EOPNOTSUPP`] },
  elsewhere: { args: ['--fault', `opcode=${COPIES},errno=EXDEV`] },
  unknown: { args: ['--withhold', COPIES] },
  'write-back': { args: ['--cache', 'always', '--writeback', '--fault', `opcode=${COPIES},errno=EXDEV`] },
  'sub-mount': { args: [], hasTwo: true },
  'hidden-sub-mount': { args: ['--no-announce-submounts'], hasTwo: true },
}

/** Copies a file with data, a hole and an odd end to each directory, and prints the results. */
const PROGRAM = `
import errno, hashlib, os, subprocess, sys
os.chdir(sys.argv[1])
with open("from", "wb") as f:
    f.write(os.urandom(300001)); f.seek(1 << 20); f.write(b"end")
digest = lambda path: hashlib.sha256(open(path, "rb").read()).digest()

def by_call(path):
    a, b = os.open("from", os.O_RDONLY), os.open(path, os.O_CREAT | os.O_RDWR)
    while os.copy_file_range(a, b, 1 << 30) > 0:
        pass
    os.close(a), os.close(b)

ways = {
    "copy_file_range": by_call,
    "cp": lambda path: subprocess.run(["cp", "from", path], check=True),
    "cp --reflink=auto": lambda path: subprocess.run(["cp", "--reflink=auto", "from", path], check=True),
    "mv and back": lambda path: (subprocess.run(["cp", "from", "moved"], check=True), subprocess.run(["mv", "moved", path], check=True)),
}
for place in [".", "sub"]:
    if not os.path.isdir(place):
        continue
    for name, copy in ways.items():
        path = place + "/" + name.replace(" ", "")
        try:
            copy(path)
            outcome = "whole" if digest(path) == digest("from") else "wrong"
        except OSError as error:
            outcome = errno.errorcode[error.errno]
        if outcome != "whole":
            print(place, name, outcome)
print("done")
`

t.setTimeout(900_000)

if (!isRoot) t.plan(0, 'needs root: mounts')
else {
  const root = await serveDebianRoot()
  t.teardown(() => root.stop())
  for (const { kernel, qemu } of newerPairs) {
    t.test(`Linux ${kernel}`, async (t) => {
      const served = []
      for (const [tag, { args, hasTwo = false }] of Object.entries(shares)) {
        const path = mkdtempSync(join(tmpdir(), 'guest-share-'))
        writeFileSync(join(path, 'program.py'), PROGRAM)
        if (hasTwo) {
          mkdirSync(join(path, 'sub'))
          execFileSync('mount', ['-t', 'tmpfs', 'none', join(path, 'sub')])
        }
        const device = await DeviceProcess.start({ device: 'virtiofsd-ts', sharedDir: path, args: [...args] })
        t.teardown(async () => {
          const { status } = await device.stop()
          if (status !== 0) t.fail(`the device of ${tag} ended with ${status}:\n${device.log.join('\n')}`)
          if (hasTwo) execFileSync('umount', [join(path, 'sub')])
          rmSync(path, { recursive: true, force: true })
        })
        served.push({ tag, path, device })
      }
      const guest = await bootWith(t, served, { kernel, qemu, more: [root.share] })
      await root.enter(guest, '/accepted')
      for (const { tag } of served) {
        await guest.output(`mkdir -p /debian/tmp/${tag} && mount --rbind /${tag} /debian/tmp/${tag}`)
        const command = root.command(`python3 /tmp/${tag}/program.py /tmp/${tag} 2>&1`)
        t.equal(await guest.output(command, { timeoutMs: 400_000 }), 'done\n', tag)
      }
      await expectQuietKernel(t, guest)
      await guest.shutdown()
    })
  }
}

/** A program of the guest refers to files and directories that it removes, while the device has few descriptors. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { serveDebianRoot } from '../../../vm/device/debian-root.js'
import { isRoot } from '../../support/device/cases.js'
import { bootWith, expectQuietKernel, newerPairs, serve } from '../../support/host/real-guest.js'

const policies: Readonly<Record<string, readonly string[]>> = {
  never: ['--cache', 'never', '--allow-mmap'],
  auto: [],
  'write-back': ['--cache', 'always', '--writeback'],
}

/** More files than the device keeps open. */
const OTHERS = 700

const PROGRAM = `
import os, subprocess, sys
os.chdir(sys.argv[1])
os.mkdir("others")
for n in range(${OTHERS}):
    open(f"others/{n}", "w").close()
for name in ["path", "bound", "replaced", "new"]:
    with open(name, "w") as f: f.write(name)
for name in ["current", "directory"]: os.mkdir(name)
open("/tmp/target", "w").close()
subprocess.run(["mount", "--bind", "bound", "/tmp/target"], check=True)
fds = {name: os.open(name, os.O_PATH) for name in ["path", "replaced", "directory"]}
root = os.open(".", os.O_PATH)
os.chdir("current")
at = dict(dir_fd=root)
for n in range(${OTHERS}): os.stat(f"others/{n}", **at)
os.unlink("path", **at)
os.unlink("bound", **at)
os.rename("new", "replaced", src_dir_fd=root, dst_dir_fd=root)
os.rmdir("current", **at)
os.rmdir("directory", **at)
for when in ["at once", "later"]:
    for name, look in {
        "path": lambda: open(f"/proc/self/fd/{fds['path']}").read() == "path" and os.fstat(fds["path"]).st_nlink == 0,
        "replaced": lambda: open(f"/proc/self/fd/{fds['replaced']}").read() == "replaced",
        "bound": lambda: open("/tmp/target").read() == "bound",
        "current": lambda: os.stat(".") and os.listdir(".") == [],
        "directory": lambda: os.fstat(fds["directory"]) and os.listdir(f"/proc/self/fd/{fds['directory']}") == [],
    }.items():
        try:
            if not look(): print(when, name, "is wrong")
        except OSError as error:
            print(when, name, error)
    for n in range(${OTHERS}): os.stat(f"others/{n}", **at)
subprocess.run(["umount", "/tmp/target"], check=True)
print("done")
`

t.setTimeout(900_000)

if (!isRoot) t.plan(0, 'needs root: the device opens file handles')
else {
  const root = await serveDebianRoot()
  t.teardown(() => root.stop())
  for (const { kernel, qemu } of newerPairs) {
    t.test(`Linux ${kernel}`, async (t) => {
      const shares = await Promise.all(
        Object.entries(policies).map(([tag, args]) => serve(t, tag, ['--rlimit-nofile', '512', ...args])),
      )
      for (const { path } of shares) writeFileSync(join(path, 'program.py'), PROGRAM)
      const guest = await bootWith(t, shares, { kernel, qemu, more: [root.share] })
      await root.enter(guest, '/auto')
      for (const { tag } of shares) {
        await guest.output(`mkdir -p /debian/tmp/${tag} && mount --rbind /${tag} /debian/tmp/${tag}`)
        const command = root.command(`python3 /tmp/${tag}/program.py /tmp/${tag} 2>&1`)
        t.equal(await guest.output(command, { timeoutMs: 400_000 }), 'done\n', tag)
      }
      await expectQuietKernel(t, guest)
      await guest.shutdown()
    })
  }
}

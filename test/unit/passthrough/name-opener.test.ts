import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { constants as os } from 'node:os'
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { openPath } from '../../../src/passthrough/descriptors.js'
import { NameOpener } from '../../../src/passthrough/names/name-opener.js'
import { checkNoFdLeak } from '../../support/device/descriptors.js'
import { tempDir } from '../../support/host/temp-dir.js'

const { O_PATH, O_RDONLY, O_CREAT, O_EXCL, O_RDWR } = native.constants
const { EXDEV, ELOOP, ENOENT } = os.errno

/** A directory with a file, a link to another directory, and one to a file there. */
function makeDirectory(t: Test): string {
  const directory = tempDir(t)
  mkdirSync(`${directory}/share`)
  mkdirSync(`${directory}/outside`)
  writeFileSync(`${directory}/outside/secret`, '')
  writeFileSync(`${directory}/share/file`, '')
  symlinkSync('../outside', `${directory}/share/out`)
  symlinkSync('../outside/secret', `${directory}/share/link`)
  return `${directory}/share`
}

t.test('names that no check has refused are refused by the kernel', async (t) => {
  const directory = makeDirectory(t)
  checkNoFdLeak(t, () => {
    const fd = openPath(directory)
    const opener = new NameOpener(fd)
    t.ok(opener.locked, 'openat2 (Linux 5.6) is there')
    const open = (name: string, flags: number) => {
      const result = opener.open(fd, Buffer.from(`${name}\0`), 0, flags, flags & O_CREAT ? 0o600 : 0)
      if (result >= 0) native.close(result)
      return Math.min(result, 0)
    }
    for (const flags of [O_PATH, O_RDONLY, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL]) {
      for (const name of ['..', '../outside/secret', '/etc/passwd'])
        t.equal(open(name, flags), -EXDEV, `${name} ${flags}`)
      t.equal(open('out/secret', flags), -ELOOP, `a link on the way ${flags}`)
    }
    for (const name of ['out', 'link']) {
      t.equal(open(name, O_PATH), 0, `${name} itself may be looked at`)
      t.equal(open(name, O_RDONLY), -ELOOP)
      t.equal(open(name, O_RDWR | O_CREAT), -ELOOP)
    }
    t.equal(open('file', O_RDWR), 0)
    t.equal(open('new', O_RDWR), -ENOENT)
    t.equal(open('new', O_RDWR | O_CREAT | O_EXCL), 0)
    native.close(fd)
  })
})

t.test('magic links are refused as well', async (t) => {
  const fd = openPath('/proc/self')
  const opener = new NameOpener(fd)
  for (const name of ['root/etc', 'cwd/x', 'fd/0']) {
    const result = opener.open(fd, Buffer.from(`${name}\0`), 0, O_PATH, 0)
    if (name === 'fd/0') {
      t.ok(result >= 0, 'the link itself')
      native.close(result)
    } else {
      t.equal(result, -ELOOP, name)
    }
  }
  t.equal(opener.open(fd, Buffer.from('exe\0'), 0, O_RDONLY, 0), -ELOOP)
  native.close(fd)
})

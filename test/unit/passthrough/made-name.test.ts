/** A new file that cannot be kept is removed by its name, but not another file that has taken the name. */
import { closeSync, existsSync, mkdirSync, openSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import * as native from 'virtiofsd-ts-native'
import { removeMadeName } from '../../../src/passthrough/names/made-name.js'
import { tempDir } from '../../support/host/temp-dir.js'

const name = new TextEncoder().encode('..made\0')
const AT = 2
const { AT_REMOVEDIR } = native.constants

t.test('a file is removed by its name only while the name is its own', async (t) => {
  const directory = tempDir(t)
  const path = join(directory, 'made')
  writeFileSync(path, '')
  const [fd, directoryFd] = [openSync(path, 'r'), openSync(directory, 'r')]
  renameSync(path, join(directory, 'mine'))
  writeFileSync(path, 'of somebody else')
  removeMadeName(fd, directoryFd, name, AT, 0)
  t.ok(existsSync(path), 'the file of somebody else stays')
  renameSync(join(directory, 'mine'), path)
  removeMadeName(fd, directoryFd, name, AT, 0)
  t.notOk(existsSync(path))
  symlinkSync('nowhere', path)
  removeMadeName(fd, directoryFd, name, AT, 0)
  removeMadeName(-1, directoryFd, name, AT, 0)
  removeMadeName(fd, -1, name, AT, 0)
  t.same([fd, directoryFd].map(closeSync), [undefined, undefined])
})

t.test('a directory is removed by its name only while the name is its own', async (t) => {
  const directory = tempDir(t)
  const path = join(directory, 'made')
  mkdirSync(path)
  const [fd, directoryFd] = [openSync(path, 'r'), openSync(directory, 'r')]
  renameSync(path, join(directory, 'mine'))
  mkdirSync(path)
  removeMadeName(fd, directoryFd, name, AT, AT_REMOVEDIR)
  t.ok(existsSync(path))
  for (const one of [fd, directoryFd]) closeSync(one)
})

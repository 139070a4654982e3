/** What a process in a sandbox can still do after it was taken over. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { launcherPath } from 'virtiofsd-ts-native'
import { capabilityMask, keptCapabilities } from '../../src/sandbox/capabilities.js'
import { isRoot } from '../support/device/cases.js'
import { tempDir } from '../support/host/temp-dir.js'

const PROBE = fileURLToPath(new URL('../support/device/sealed-probe.js', import.meta.url))
/** 128 and the number of SIGSYS. */
const KILLED_BY_SECCOMP = 159

const skip = isRoot ? {} : { skip: 'needs root: namespaces' }

/** Tries something in a process that is sealed on a share with a file named "inside". */
function probe(t: Test, attempt: string, filter: 'filter' | 'no filter' = 'filter') {
  const share = join(tempDir(t), 'share')
  mkdirSync(share)
  writeFileSync(join(share, 'inside'), '')
  const { PATH } = process.env
  // The test runner adds hooks to the environment of every child; this removes them.
  const { status, stdout, stderr } = spawnSync(
    'env',
    [
      ...['-i', `PATH=${PATH}`, launcherPath],
      ...['--sandbox', 'namespace', '--capabilities', capabilityMask(keptCapabilities(undefined, true))],
      ...['--mount', `s0=${share}`, '--', process.execPath, PROBE, attempt, filter],
    ],
    { encoding: 'utf8' },
  )
  return { status, said: stdout.trim(), stderr }
}

t.test('a sealed process sees its share and its own descriptors, and nothing else', skip, async (t) => {
  t.same(probe(t, 'nothing'), { status: 0, said: 'alive', stderr: '' })
  t.equal(probe(t, 'list').said, 's0', 'the shares are all there is')
  t.equal(probe(t, 'list share').said, 'inside')
  t.equal(probe(t, 'read passwd').said, 'ENOENT')
  t.equal(probe(t, 'go up').said, 'ENOENT')
  t.equal(probe(t, 'write the root').said, `${-30}`, 'EROFS')
  t.equal(probe(t, 'look at itself').said, 'itself')
  t.equal(probe(t, 'climb out of its descriptors').said, `${-2}`, 'ENOENT: there is nothing above them')
})

t.test('forbidden calls end a sealed process', skip, async (t) => {
  for (const attempt of ['execute', 'make a socket', 'kill another']) {
    const { status, said, stderr } = probe(t, attempt)
    t.equal(status, KILLED_BY_SECCOMP, `${attempt}: ${said}`)
    t.match(stderr, /ended by signal 31/)
  }
})

t.test('without the filter, a sealed process still finds no program to execute', skip, async (t) => {
  t.equal(probe(t, 'execute', 'no filter').said, 'null', 'no program to be found')
  t.equal(probe(t, 'list', 'no filter').said, 's0')
})

t.test('a sealed process may make threads', skip, async (t) => {
  t.same(probe(t, 'make threads'), { status: 0, said: 's0', stderr: '' })
})

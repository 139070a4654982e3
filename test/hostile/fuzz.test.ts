/** A short run of make fuzz, and runs with planted faults, which must be found. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { readCorpus } from '../fuzz/corpus.js'
import { mutate, RECORD_BYTES, randomInput, recordsOf } from '../fuzz/input.js'
import { FuzzFailure, runChild } from '../fuzz/run-child.js'
import { findSanitizers, type Sanitizers } from '../fuzz/sanitizers.js'
import { ScratchShare } from '../fuzz/scratch-share.js'
import { tempDir } from '../support/host/temp-dir.js'
import { Random, seeded } from '../support/random.js'

const FUZZ = fileURLToPath(new URL('../fuzz/main.js', import.meta.url))
const ADDON = fileURLToPath(new URL('../../../native/build/sanitized/native.node', import.meta.url))
const MESSAGES = 100_000
const MAX_RECORDS = 256

function sanitizersOrReason(): Sanitizers | string {
  try {
    const mounted = spawnSync('unshare', ['--mount', 'true'])
    const userMounted = spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'true'])
    if (mounted.status !== 0 && userMounted.status !== 0)
      return 'no mount namespace for a scratch file system'
    return findSanitizers()
  } catch (error) {
    return (error as Error).message
  }
}

/** The scratch directory has a file that is too long for most disks. */
function memoryDir(t: Test): string {
  const directory = mkdtempSync('/dev/shm/vfs-scratch-')
  t.teardown(() => rmSync(directory, { recursive: true }))
  return directory
}

const sanitizers = sanitizersOrReason()
const skip = typeof sanitizers === 'string' ? { skip: sanitizers } : {}

t.test(`${MESSAGES} messages and requests`, { ...skip, timeout: 240_000 }, async (t) => {
  const seed = seeded(t).below(2 ** 31)
  // Removes what the test runner adds to the environment, which would be preloaded, too.
  const args = ['-i', `PATH=${process.env['PATH']}`, process.execPath, FUZZ]
  const { status, stdout, stderr } = spawnSync(
    'env',
    [...args, '--messages', `${MESSAGES}`, '--seed', `${seed}`],
    {
      cwd: tempDir(t),
      encoding: 'utf8',
    },
  )
  t.equal(stderr, '')
  t.equal(status, 0)
  t.match(stdout, /no crash, no hang, no sanitizer report/)
  t.comment(stdout.trim().split('\n').at(-1))
})

t.test('the sanitizers end the process', skip, async (t) => {
  const { environment } = sanitizers as Sanitizers
  for (const [kind, report] of [
    [0, /AddressSanitizer: heap-use-after-free/],
    [1, /runtime error: signed integer overflow/],
  ] as const) {
    const script = `require(${JSON.stringify(ADDON)}).sanitizerTrap(${kind})`
    const result = spawnSync(process.execPath, ['-e', script], { env: environment, encoding: 'utf8' })
    t.equal(result.signal, 'SIGABRT')
    t.match(result.stderr, report)
  }
  const quiet = spawnSync(process.execPath, ['-e', '0'], { env: environment, encoding: 'utf8' })
  t.same([quiet.status, quiet.stderr], [0, ''], 'and say nothing of node itself')
})

t.test('a child that fails fails the run', skip, async (t) => {
  const directory = tempDir(t)
  const options = {
    messages: 1,
    seed: 1,
    threads: 2,
    scratch: directory,
    inputPath: join(directory, 'missing', 'input'),
    keep: false,
  }
  const run = runChild({ ...options, target: 'rings' }, sanitizers as Sanitizers, () => {})
  const error = await run.catch((error: unknown) => error)
  t.ok(error instanceof FuzzFailure)
  t.match((error as Error).message, /ended by status 1[\s\S]*ENOENT/)
})

t.test('what happens outside of the share is noticed', async (t) => {
  const directory = memoryDir(t)
  const share = new ScratchShare(directory)
  share.fill()
  share.fill()
  share.check()
  writeFileSync(join(directory, 'outside', 'secret'), 'changed')
  t.throws(() => share.check(), /outside the share has changed/)
  const other = memoryDir(t)
  const another = new ScratchShare(other)
  writeFileSync(join(other, 'stranger'), '')
  t.throws(() => another.check())
})

t.test('the same seed makes the same inputs, of whole records', async (t) => {
  const inputs = (seed: number) => {
    const random = new Random(seed)
    const [one, other] = [randomInput(random), randomInput(random)]
    return Array.from({ length: 200 }, () => mutate(random, one, other))
  }
  t.ok(Buffer.concat(inputs(5)).equals(Buffer.concat(inputs(5))))
  t.notOk(Buffer.concat(inputs(5)).equals(Buffer.concat(inputs(6))))
  for (const input of inputs(7)) {
    if (input.length === 0 || input.length % RECORD_BYTES !== 0) t.fail(`${input.length} bytes`)
    if ([...recordsOf(input)].length > MAX_RECORDS) t.fail('too many records')
  }
})

t.test('there is a corpus for every target', async (t) => {
  for (const target of ['messages', 'rings', 'races', 'requests', 'threads', 'trees', 'state'])
    t.ok(readCorpus(target).length > 0, target)
})

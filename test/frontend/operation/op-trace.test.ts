/** --trace records every request as it was; `virtiofsd-ts trace` prints, filters and sums up. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type ControlClient, startControlled } from '../../support/device/control-client.js'
import { Device } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { u64 } from '../../support/fuse/fuse-wire.js'
import { mount } from '../../support/fuse/mount.js'
import { finishAll, startWrite } from '../../support/fuse/writers.js'
import { tempDir } from '../../support/host/temp-dir.js'

const O_RDWR = 2
const O_DIRECT = 0o40000
const BLOCK = 512
const LONG_MS = 20_000
const MIB = 1 << 20

interface TraceLine {
  readonly time: string
  readonly opcode: string
  readonly queue: number
  readonly error: number
  readonly nodeid: number
  readonly handle: number
  readonly offsetBytes: number
  readonly sizeBytes: number
  readonly seenMs: number
  readonly latencyUs: number
  readonly replyBytes: number
  readonly overlap: number
  readonly faultId: number
  readonly pid: number
  readonly path?: string
}

function readLines(file: string, ...filters: readonly string[]): TraceLine[] {
  const { status, stdout, stderr } = runProgram(['trace', file, '--json', ...filters])
  if (status !== 0) throw new Error(stderr)
  return stdout === '' ? [] : stdout.split('\n').map((line) => JSON.parse(line) as TraceLine)
}

/** A device that traces into a file, which is whole once `finish` has resolved. */
async function startTraced(t: Test, args: readonly string[] = []) {
  const file = join(tempDir(t), 'trace')
  const { device, control } = await startControlled(t, ['--trace', file, ...args])
  const finish = async () => {
    await control.ask('trace', false)
    // The answer comes after the last chunk was handed to the main thread, which writes in order.
    await control.ask('state')
  }
  return { device, control, file, finish }
}

t.test('a trace has every request, with its arguments and its path', async (t) => {
  const { device, file, finish } = await startTraced(t, [
    '--cache',
    'never',
    '--parallel-dio',
    '--allow-direct-io',
  ])
  const fs = mount(t, device)
  const dir = fs.mkdir(ROOT_ID, 'dir').nodeid
  const made = fs.create(dir, 'file', O_RDWR)
  fs.write(made.nodeid, made.handle, 0, new Uint8Array(100))
  t.throws(() => fs.lookup(dir, 'nothing'))
  const opened = fs.open(made.nodeid, O_RDWR | O_DIRECT)
  fs.read(made.nodeid, made.handle, 4, 50)
  fs.release(made.nodeid, opened.handle)
  fs.forgetAll()
  await finish()
  const lines = readLines(file)
  t.match(
    lines.map(({ opcode, path, error }) => [opcode, path, error]),
    [
      ['INIT', undefined, 0],
      ['MKDIR', 'dir', 0],
      ['CREATE', 'dir/file', 0],
      ['WRITE', 'dir/file', 0],
      ['LOOKUP', 'dir/nothing', -2],
      ['OPEN', 'dir/file', 0],
      ['READ', 'dir/file', 0],
      ['RELEASE', 'dir/file', 0],
      ['FORGET'],
      ['FORGET'],
    ],
  )
  const [, , create, write, , , read] = lines
  t.equal(create?.handle, Number(made.handle))
  t.match(write, { handle: Number(made.handle), offsetBytes: 0, sizeBytes: 100, replyBytes: 24, queue: 1 })
  t.match(read, { handle: Number(made.handle), offsetBytes: 4, sizeBytes: 50, replyBytes: 16 + 50 })
  t.equal(lines.at(-1)?.queue, 0, 'FORGET on the priority queue')
  t.equal(lines.at(-1)?.replyBytes, 0)
  for (const { time, latencyUs } of lines) {
    t.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000, time)
    t.ok(latencyUs > 0 && latencyUs < 10e6, `${latencyUs} us`)
  }

  t.same(
    readLines(file, '--opcode', 'READ+WRITE').map(({ opcode }) => opcode),
    ['WRITE', 'READ'],
  )
  t.same(
    readLines(file, '--errors').map(({ opcode }) => opcode),
    ['LOOKUP'],
  )
  t.equal(readLines(file, '--path', 'dir/f*', '--opcode', 'OPEN').length, 1)
  t.equal(readLines(file, '--slower-than', '10000000').length, 0)
  t.same(
    readLines(file, '--node', `${made.nodeid}`, '--handle', `${opened.handle}`).map(({ opcode }) => opcode),
    ['OPEN', 'RELEASE'],
    'OPEN has the handle that its reply gives',
  )
  t.ok(readLines(file, '--queue', '0').every(({ opcode }) => opcode === 'FORGET'))
  const [first, , third, fourth] = lines
  t.same(
    readLines(file, '--from', first?.time.slice(0, 23) ?? '', '--to', '2999-01-01T00').length,
    lines.length,
  )
  t.equal(readLines(file, '--to', '2000-01-01T00:00:00.000').length, 0)
  t.ok((third?.seenMs ?? 0) < (fourth?.seenMs ?? 0))
  const { stdout } = runProgram(['trace', file])
  t.match(stdout, /CREATE .* ok .* dir\/file .*O_RDWR.* -> DIRECT_IO\|PARALLEL_DIRECT_WRITES/)
  t.match(stdout, /WRITE .* ok +24 {2}node \d+ {2}dir\/file {2}fh=\d+ {2}100@0/)
  t.match(stdout, /LOOKUP .* ENOENT .* dir\/nothing/)
  t.match(stdout, /OPEN .*O_RDWR\|O_DIRECT/)
  const rows = JSON.parse(runProgram(['trace', file, '--summary', '--json']).stdout) as readonly {
    group: string
    count: number
    errors: number
  }[]
  t.match(
    rows.find(({ group }) => group === 'FORGET'),
    { count: 2, errors: 0 },
  )
  t.match(
    rows.find(({ group }) => group === 'LOOKUP'),
    { count: 1, errors: 1 },
  )
  t.match(
    runProgram(['trace', file, '--summary']).stdout.split('\n')[0],
    /opcode +count +errors +faults +overlap +p50 us/,
  )
})

t.test(
  'flags are printed by name, sizes of any length are kept, and the effect of a fault is named',
  async (t) => {
    const { device, control, file, finish } = await startTraced(t)
    const fs = mount(t, device)
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
    fs.setattr(nodeid, { size: 2 ** 33 + 1 })
    fs.fallocate(nodeid, handle, 2 ** 33, 7)
    for (const opcode of [Op.COPY_FILE_RANGE, Op.COPY_FILE_RANGE_64])
      fs.succeed({ opcode, nodeid, args: u64(handle, 7, nodeid, handle, 100, 5, 0), reply: { argBytes: 8 } })
    const WRITE_CACHE = 1
    finishAll(fs, [startWrite(fs, { nodeid, handle }, 0, BLOCK, { writeFlags: WRITE_CACHE })])
    fs.succeed({ opcode: Op.GETATTR, nodeid, args: u64(1, handle), reply: { argBytes: 104 } })
    fs.read(nodeid, handle, 9, 3)
    fs.read(nodeid, handle, 9, 4, 4, O_RDWR)
    await control.ask('fault-add', { opcodes: ['GETATTR'], errno: 'EIO' })
    t.throws(() => fs.getattr(nodeid), { code: 'EIO' })
    await finish()
    const { stdout } = runProgram(['trace', file])
    t.match(stdout, /SETATTR .* size=8589934593 .*SIZE/)
    t.match(stdout, /FALLOCATE .* 7@8589934592/)
    t.match(stdout, /COPY_FILE_RANGE .* 5@7/)
    t.match(stdout, /COPY_FILE_RANGE_64 .* 5@7/)
    t.match(stdout, /WRITE .* 512@0 .*WRITE_CACHE/)
    t.match(stdout, /GETATTR .* ok .*GETATTR_FH/)
    t.match(stdout, /READ .* 3@9 (?!.*READ_LOCKOWNER)/)
    t.match(stdout, /READ .* 4@9 .*O_RDWR .*READ_LOCKOWNER/)
    t.match(stdout, /GETATTR .* EIO +16 .* fault=1/)
    t.match(readLines(file, '--faults'), [{ opcode: 'GETATTR', faultId: 1, error: -5 }])
    const byPath = runProgram(['trace', file, '--summary', '--by', 'path']).stdout
    t.match(byPath, /^file +10 +1 +1 /m)
  },
)

/** The highest number of requests in flight at once, from their times alone. */
function overlapOf(lines: readonly TraceLine[]): number {
  const edges = lines.flatMap(({ seenMs, latencyUs }) => [
    [seenMs, 1],
    [seenMs + latencyUs / 1000, -1],
  ])
  edges.sort((a, b) => (a[0] as number) - (b[0] as number))
  let now = 0
  let highest = 0
  for (const [, step] of edges) {
    now += step as number
    highest = Math.max(highest, now)
  }
  return highest
}

t.test('overlap that the times of a trace show is the overlap that was counted', async (t) => {
  const { device, control, file, finish } = await startTraced(t, ['--cache', 'never', '--inspect'])
  const fs = mount(t, device)
  for (const [name, writers] of [
    ['five', 5],
    ['three', 3],
  ] as const) {
    const opened = fs.create(ROOT_ID, name, O_RDWR)
    const hold = { until: writers, timeoutMs: LONG_MS }
    await control.ask('fault-add', { opcodes: ['WRITE'], path: name, hold })
    finishAll(
      fs,
      Array.from({ length: writers }, (_, n) => startWrite(fs, opened, n * BLOCK)),
    )
    await control.ask('fault-clear')
    finishAll(fs, [startWrite(fs, opened, 0)])
  }
  const counted = new Map((await control.inodes()).map(({ path, highestOverlap }) => [path, highestOverlap]))
  await finish()
  for (const name of ['five', 'three']) {
    const writes = readLines(file, '--opcode', 'WRITE', '--path', name)
    t.equal(overlapOf(writes), counted.get(name), name)
    t.equal(writes.at(-1)?.overlap, 1, 'the last came alone')
  }
  t.equal(counted.get('five'), 5)
})

/** Sends requests until the trace has begun its second file and the first has gone. */
async function fill(control: ControlClient, device: Device, t: Test, file: string): Promise<void> {
  const fs = mount(t, device)
  for (let n = 0; n < 3; n++) {
    for (let request = 0; request < 12_000; request++) fs.getattr(ROOT_ID)
    await control.ask('state')
  }
  t.ok(existsSync(`${file}.1`))
}

t.test('recording can be switched on at run time only with --trace', async (t) => {
  const { control } = await startControlled(t)
  t.match(await control.refusal('trace', true), /started without --trace/)
})

t.test('there are at most two trace files, each bounded and readable by itself', async (t) => {
  const { device, control, file, finish } = await startTraced(t, ['--trace-size', '1'])
  await fill(control, device, t, file)
  await finish()
  t.same(readdirSync(join(file, '..')).sort(), ['trace', 'trace.1'])
  const count = (...files: readonly string[]) =>
    (JSON.parse(runProgram(['trace', '--summary', '--json', ...files]).stdout) as { count: number }[]).reduce(
      (sum, { count }) => sum + count,
      0,
    )
  t.equal(count(`${file}.1`, file), count(`${file}.1`) + count(file), 'both at once')
  for (const part of [file, `${file}.1`]) {
    t.ok(statSync(part).size < 2 * MIB, `${statSync(part).size} bytes`)
    const lines = readLines(part)
    t.ok(lines.length > 10 && lines.every(({ opcode }) => opcode === 'GETATTR' || opcode === 'INIT'))
    t.ok(
      lines.every(({ path }) => path !== undefined || part !== file),
      'with its paths',
    )
  }
})

t.test('recording is switched on and off at run time', async (t) => {
  const { device, control, file } = await startTraced(t)
  const fs = mount(t, device)
  await control.ask('trace', false)
  fs.statfs()
  await control.ask('trace', true)
  fs.readlink(fs.symlink(ROOT_ID, 'link', 'target').nodeid)
  await control.ask('trace', false)
  await control.ask('state')
  t.same(
    readLines(file).map(({ opcode }) => opcode),
    ['SYMLINK', 'READLINK'],
  )
  t.same(
    readLines(`${file}.1`).map(({ opcode }) => opcode),
    ['INIT'],
  )
})

t.test('a trace that was cut is read as far as it is whole, and a damaged one is refused', async (t) => {
  const { device, file, finish } = await startTraced(t)
  const fs = mount(t, device)
  for (let n = 0; n < 10; n++) fs.getattr(ROOT_ID)
  await finish()
  const whole = readLines(file).length
  truncateSync(file, statSync(file).size - 10)
  t.equal(readLines(file).length, whole - 1, 'one that was cut ends with its last whole record')
  const bytes = readFileSync(file)
  const damaged = (at: number, value: number) => {
    const copy = Buffer.from(bytes)
    copy[at] = value
    writeFileSync(`${file}.bad`, copy)
    return runProgram(['trace', `${file}.bad`])
  }
  t.match(damaged(0, 0), { status: 2, stderr: /^virtiofsd-ts: trace: .*not a trace/ })
  t.match(damaged(8, 9), { status: 2, stderr: /^virtiofsd-ts: trace: .*trace of version 9/ })
  t.match(damaged(24, 9), { status: 2, stderr: /^virtiofsd-ts: trace: .*unknown type 9/ })
})

t.test('wrong arguments of trace are refused', async (t) => {
  const file = join(tempDir(t), 'file')
  for (const [args, complaint] of [
    [['--opcode', 'FOO'], /no such opcode: 'FOO'/],
    [['--slower-than', 'x'], /--slower-than x: not a number/],
    [['--sloewr-than', 'x'], /unknown option '--sloewr-than' \(Did you mean --slower-than\?\)/],
    [['--path'], /trace: --path needs a value: <glob>/],
    [['--path', '['], /--path \[: Missing closing/],
    [['--from', 'noon'], /--from noon: not a time/],
    [['--by', 'name'], /--by is one of opcode, path, node, queue, pid/],
    [[`${file}.1`], /file: no such file: the device makes it at the first request/],
  ] as const) {
    const { status, stderr } = runProgram(['trace', file, ...args])
    t.equal(status, 2)
    t.match(stderr, complaint)
  }
})

t.test('a trace that cannot be written is reported in the log, and the share goes on', async (t) => {
  const directory = join(tempDir(t), 'gone')
  mkdirSync(directory)
  const device = await Device.start(t, ['--trace', join(directory, 'trace'), '--keep-alive'])
  rmdirSync(directory)
  const fs = mount(t, device)
  fs.getattr(ROOT_ID)
  fs.close()
  await device.waitForLog(({ msg }) => msg === 'the trace cannot be written')
  mount(t, device).getattr(ROOT_ID)
})

/** SIGHUP and `ctl reload` read the configuration file again. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { ControlClient } from '../../support/device/control-client.js'
import { Device, type LogLine } from '../../support/device/device.js'
import { until } from '../../support/device/live-device.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { refused } from '../../support/fuse/refusals.js'
import { tempDir } from '../../support/host/temp-dir.js'

const O_RDONLY = 0
const FOPEN_DIRECT_IO = 1
const sandboxes = isRoot ? (['none', 'namespace'] as const) : (['none'] as const)

/** A process with a configuration file. Its first share is that of the command line. */
class Configured {
  private constructor(
    readonly device: Device,
    readonly place: string,
    readonly path: string,
    readonly control: ControlClient,
  ) {}

  static async start(t: Test, text: string, sandbox: 'none' | 'namespace' = 'none'): Promise<Configured> {
    const place = tempDir(t)
    for (const name of ['a', 'b', 'c']) mkdirSync(join(place, name))
    const path = join(place, 'shares.toml')
    writeFileSync(path, withPaths(text, place))
    const args = ['--keep-alive', '--config', path, '--control-socket', join(place, 'control')]
    const device = await Device.start(t, args, { sandbox })
    return new Configured(device, place, path, await ControlClient.connect(t, join(place, 'control')))
  }

  write(text: string): void {
    writeFileSync(this.path, withPaths(text, this.place))
  }

  /** Sends SIGHUP. Returns the line of the log that answers it. */
  async hangUp(): Promise<LogLine> {
    const before = answersIn(this.device.logs()).length
    this.device.kill('SIGHUP')
    await this.device.waitForLog(() => answersIn(this.device.logs()).length > before)
    return answersIn(this.device.logs()).at(-1) as LogLine
  }

  async shares(): Promise<string[]> {
    const shares = await this.control.ask<readonly { name: string }[]>('shares')
    return shares.map(({ name }) => name)
  }

  at(name: string): { socketPath: string } {
    return { socketPath: join(this.place, `${name}.sock`) }
  }
}

function withPaths(text: string, place: string): string {
  return text.replaceAll('HERE', place)
}

function answersIn(lines: readonly LogLine[]): readonly LogLine[] {
  return lines.filter(({ msg }) => /configuration (reloaded|was not reloaded)/.test(msg))
}

const shareA = `[[share]]
tag = "a"
shared-dir = "HERE/a"
socket-path = "HERE/a.sock"
`
const shareB = shareA.replaceAll('/a', '/b').replace('"a"', '"b"')
const shareC = shareA.replaceAll('/a', '/c').replace('"a"', '"c"')

for (const sandbox of sandboxes) {
  t.test(`SIGHUP applies the difference: --sandbox ${sandbox}`, async (t) => {
    const configured = await Configured.start(t, shareA + shareB, sandbox)
    const { place } = configured
    writeFileSync(join(place, 'b', 'file'), 'x')
    const b = mount(t, configured.at('b'))
    const { nodeid } = b.lookup(ROOT_ID, 'file')
    t.equal(b.open(nodeid, O_RDONLY).flags & FOPEN_DIRECT_IO, 0)

    configured.write(
      `log-level = "debug"\n${shareB}cache = "never"\nallow-mmap = true\n[[share.rule]]\nmatch = "*.db"\ncache = "always"\n${shareC}`,
    )
    t.match(await configured.hangUp(), { msg: 'configuration reloaded', added: 1, removed: 1, changed: 1 })
    t.same((await configured.shares()).sort(), ['0', 'b', 'c'])
    // The socket is removed when the share has ended, which the log reports.
    const files = ['a.sock', 'a.sock.pid'].map((name) => join(place, name))
    await until(
      () => !files.some((path) => existsSync(path)),
      () => 'a socket is left behind',
    )
    t.equal(b.open(nodeid, O_RDONLY).flags & FOPEN_DIRECT_IO, FOPEN_DIRECT_IO, 'of the next open')
    writeFileSync(join(place, 'b', 'x.db'), 'x')
    t.equal(b.open(b.lookup(ROOT_ID, 'x.db').nodeid, O_RDONLY).flags & FOPEN_DIRECT_IO, 0, 'rules as well')
    mount(t, configured.at('c')).create(ROOT_ID, 'made', 2)
    t.ok(existsSync(join(place, 'c', 'made')))

    t.match(await configured.hangUp(), { added: 0, removed: 0, changed: 0 }, 'nothing is left to do')
    const again = mount(t, configured.device)
    again.getattr(ROOT_ID)
  })
}

t.test('a change that cannot be applied refuses the whole reload, with file and line', async (t) => {
  const configured = await Configured.start(t, shareA + shareB)
  const { place, path, device } = configured
  const refusals: readonly (readonly [string, number, RegExp])[] = [
    [`${shareA}readonly = true\n${shareB}${shareC}`, 5, /readonly: a share that runs cannot change this/],
    [`${shareC}${shareA.replace('HERE/a"', 'HERE/b"')}${shareB}`, 7, /shared-dir: a share that runs/],
    [`seccomp = "none"\n${shareA}${shareC}`, 1, /seccomp: a process that runs cannot change this/],
    [`${shareC}${shareA}cache = "perhaps"\n`, 9, /'perhaps' is not one of/],
    [`${shareC}${shareA}${shareB.replace('b.sock', 'nowhere/b.sock')}`, 11, /no directory/],
    [
      `${shareC}${shareA}${shareA.replace('a.sock', 'c/x.sock').replace('"a"', '"d"')}`,
      12,
      /lies in the shared directory/,
    ],
    [`${shareC}[[share]\n`, 6, /Unterminated/],
  ]
  await configured.shares()
  const files = device.fdCount()
  for (const [text, line, complaint] of refusals) {
    configured.write(text)
    const { msg, reason = '' } = await configured.hangUp()
    t.match(msg, /was not reloaded/)
    t.match(reason, complaint)
    t.ok(reason.startsWith(`${path}:${line}`), `${reason.slice(place.length)} is of line ${line}`)
    t.same((await configured.shares()).sort(), ['0', 'a', 'b'], 'nothing has changed')
    t.notOk(existsSync(join(place, 'c.sock')), 'and nothing is left behind')
    t.notOk(existsSync(join(place, 'c.sock.pid')))
  }
  await device.waitForFdCount(files)
  mount(t, configured.at('a')).getattr(ROOT_ID)
})

/** Each in the notation of the file. */
const REPLACEABLE = {
  'allow-direct-io': 'true',
  'preserve-noatime': 'true',
  'lock-timeout': '5',
  'inode-file-handles': '"never"',
  'inode-limit': '5000',
  inspect: 'true',
  withhold: '"LSEEK"',
  'trace-size': '2',
  'poll-us': '20',
  'thread-pool-size': '2',
  'migration-mode': '"file-handles"',
}

t.test('what a running share cannot change, a process in its place has', async (t) => {
  const configured = await Configured.start(t, shareA)
  const { device } = configured
  mount(t, configured.at('a')).getattr(ROOT_ID)
  for (const [option, value] of Object.entries(REPLACEABLE)) {
    configured.write(`${shareA}${option} = ${value}\n`)
    const { reason = '' } = await configured.hangUp()
    t.match(reason, new RegExp(`${option}: a share that runs cannot change this: replace the process, or`))
  }
  const changed = Object.entries(REPLACEABLE).map(([option, value]) => `${option} = ${value}\n`)
  configured.write(`${shareA}${changed.join('')}`)
  device.kill('SIGUSR2')
  await until(
    () => device.logs().some(({ msg }) => msg === 'another process serves in the place of this one'),
    () => 'it was not replaced',
  )
  await device.findSuccessor()
  t.match(await configured.hangUp(), { added: 0, removed: 0, changed: 0 }, 'all of it is in force')
})

t.test('shares have equal budgets of descriptors, from the start and after a reload', async (t) => {
  const configured = await Configured.start(t, shareA)
  const { control } = configured
  const limits = async () => {
    const names = await configured.shares()
    return Promise.all(
      names.map(async (name) => {
        const { use } = await control.ask<{ use: { descriptorLimit: number } }>('figures', undefined, name)
        return use.descriptorLimit
      }),
    )
  }
  const atStart = await limits()
  t.equal(atStart.length, 2)
  t.equal(new Set(atStart).size, 1, `at the start: ${atStart}`)
  configured.write(shareA + shareB + shareC)
  t.match(await configured.hangUp(), { added: 2 })
  const later = await limits()
  t.equal(later.length, 4)
  t.equal(new Set(later).size, 1, `with two more: ${later}`)
  t.ok(later[0]! * 4 <= atStart[0]! * 2 + 1, 'together they have no more than before')
})

t.test('a share that its thread cannot serve is refused, and changes nothing for the others', async (t) => {
  const configured = await Configured.start(t, shareA)
  const { device, control } = configured
  const limit = async () =>
    (await control.ask<{ use: { descriptorLimit: number } }>('figures', undefined, 'a')).use.descriptorLimit
  const before = await limit()
  // Inodes of /proc have no handles.
  const shareD =
    '[[share]]\nshared-dir = "/proc"\nsocket-path = "HERE/d.sock"\ninode-file-handles = "mandatory"\n'
  configured.write(shareA + shareD)
  t.match((await configured.hangUp()).reason, /cannot be opened by file handles/)
  t.same(
    device.logs().filter(({ level }) => level >= 60),
    [],
    'no share has failed',
  )
  t.equal(await limit(), before)
  t.same((await configured.shares()).sort(), ['0', 'a'])
})

t.test('a share that a command added stays; one that a command removed comes back', async (t) => {
  const configured = await Configured.start(t, shareA)
  const { place } = configured
  const changes = await ControlClient.connect(t, join(place, 'control.live'))
  await changes.ask('share-add', `tag=c,path=${place}/c,socket=${place}/c.sock`)
  await changes.ask('share-remove', 'a')
  t.same((await configured.shares()).sort(), ['0', 'c'])
  t.match(await changes.ask('reload'), { added: ['a'], removed: [], changed: [] })
  t.same((await configured.shares()).sort(), ['0', 'a', 'c'])
})

t.test('ctl set changes options of a running share', async (t) => {
  const configured = await Configured.start(t, shareA)
  const { control, place } = configured
  writeFileSync(join(place, 'a', 'file'), 'x')
  const fs = mount(t, configured.at('a'))
  const { nodeid } = fs.lookup(ROOT_ID, 'file')
  const set = (argument: unknown) => control.ask('set', argument, 'a')
  const isDirect = () => (fs.open(nodeid, O_RDONLY).flags & FOPEN_DIRECT_IO) !== 0
  t.equal(isDirect(), false)
  t.same(await set({ cache: 'never' }), { atNextMount: [] })
  t.equal(isDirect(), true)
  await set({ rules: [{ match: 'file', cache: 'always', 'read-only': true }] })
  t.equal(isDirect(), false)
  await set({ rules: [] })
  t.equal(isDirect(), true)
  t.same(await set({ readdirplus: false, 'log-level': 'debug' }), { atNextMount: ['readdirplus'] })
  const refusals: readonly (readonly [unknown, RegExp])[] = [
    [{ readonly: true }, /readonly cannot change/],
    [{ cach: 'never' }, /unknown option 'cach'/],
    [{ cache: 'perhaps' }, /is not one of/],
    [{ rules: [{ cache: 'never' }] }, /needs match/],
    [{ rules: [{ match: '/x' }] }, /bad glob/],
    [{ rules: [{ match: 'x', readonly: true }] }, /whole share/],
    [{ rules: [{ match: 'x', 'o-direct': 'yes' }] }, /true or false/],
    ['never', /object/],
    [undefined, /object/],
  ]
  for (const [argument, complaint] of refusals)
    await t.rejects(set(argument), { message: complaint }, JSON.stringify(argument))
  t.equal(isDirect(), true, 'a refusal changes nothing')
  refused(t, 'ENOENT', () => fs.lookup(ROOT_ID, 'none'))
})

t.test('without a file, SIGHUP ends the process', async (t) => {
  const device = await Device.start(t, ['--keep-alive', '--control-socket', join(tempDir(t), 'control')])
  device.kill('SIGHUP')
  t.same(await device.exited(), { status: 0, signal: null })
})

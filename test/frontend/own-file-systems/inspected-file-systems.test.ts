/** Two modules in one confined process: traces, holds, faults, rules and the control socket hold for their file systems. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ControlClient } from '../../support/device/control-client.js'
import { RunningProgram, runProgram } from '../../support/device/program.js'
import { example } from '../../support/file-systems/served-module.js'
import { mount } from '../../support/fuse/mount.js'
import { errorOf } from '../../support/fuse/refusals.js'
import { finishAll, startWrite } from '../../support/fuse/writers.js'
import { tempDir } from '../../support/host/temp-dir.js'

const O_RDWR = 2
const FOPEN_DIRECT_IO = 1
const FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6

for (const confined of [false, true]) {
  t.test(confined ? 'confined' : 'as it comes', async (t) => {
    const place = tempDir(t)
    const at = (name: string) => join(place, name)
    writeFileSync(
      at('config.toml'),
      `control-socket = "${at('control')}"
      [[share]]
      tag = "memory"
      file-system = "${example('memory')}?mebibytes=3"
      socket-path = "${at('memory')}"
      trace = "${at('trace')}"
      inspect = true
      keep-alive = true
      fault = ["opcode=UNLINK,errno=EBUSY"]
      [[share.rule]]
      match = "direct/**"
      direct-io = "always"
      parallel-dio = true
      [[share]]
      tag = "tricks"
      file-system = "${example('trickster')}?slowMs=1"
      socket-path = "${at('tricks')}"
      readonly = true
      keep-alive = true
      `,
    )
    const confinement = confined ? ['--sandbox', 'namespace', '--seccomp', 'kill'] : []
    const program = new RunningProgram(t, ['--config', at('config.toml'), ...confinement])
    t.match(await program.says('"confined"'), confined ? '"sandbox":"namespace"' : '"sandbox":"none"')
    await program.says('ready')
    const control = await ControlClient.connect(t, at('control'))
    const guest = mount(t, { socketPath: at('memory') })
    const tricks = mount(t, { socketPath: at('tricks') })
    const ask = <T>(command: string, argument?: unknown) => control.ask<T>(command, argument, 'memory')

    t.equal(guest.statfs().blocks, 768n, 'options of its own')
    t.equal(tricks.lookup(1n, 'honest').attr.size, 4096n)
    t.equal(
      errorOf(() => tricks.mkdir(1n, 'x')),
      'EROFS',
    )

    const { nodeid: folder } = guest.mkdir(1n, 'direct')
    const file = guest.create(folder, 'file', O_RDWR)
    const both = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
    t.equal(file.flags & both, both, 'a rule for a path')
    t.equal(guest.create(1n, 'cached', O_RDWR).flags & both, 0)

    t.equal(
      errorOf(() => guest.unlink(folder, 'file')),
      'EBUSY',
      'a fault from the start',
    )
    await ask('fault-add', { opcodes: ['WRITE'], hold: { until: 2, timeoutMs: 20_000 } })
    const held = startWrite(guest, file, 0)
    t.equal(guest.getattr(file.nodeid).attr.size, 0n, 'a held write has not begun')
    t.equal(held.reply, undefined)
    finishAll(guest, [held, startWrite(guest, file, 512)])
    t.equal(guest.getattr(file.nodeid).attr.size, 1024n)

    const inodes = await ask<{ path: string; maxOverlap?: number }[]>('inodes')
    t.match(
      inodes.find(({ path }) => path === 'direct/file'),
      { directWrites: 2, highestOverlap: 2 },
    )
    t.match(await ask('counts'), { requests: { WRITE: 2, UNLINK: 1 }, errors: { UNLINK: 1 } })
    t.match(await control.ask('state', undefined, 'tricks'), { mounted: true })

    await ask('trace', false)
    await ask('state')
    const { stdout } = runProgram(['trace', at('trace'), '--json', '--opcode', 'WRITE'])
    const lines = stdout.split('\n').map((line) => JSON.parse(line) as { path: string; overlap: number })
    t.same(
      lines.map(({ path, overlap }) => [path, overlap]),
      [
        ['direct/file', 2],
        ['direct/file', 2],
      ],
    )
  })
}

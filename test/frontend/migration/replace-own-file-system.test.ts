/** A file system of a user's own cannot be handed over: the process goes on, and the module is not loaded again. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { LiveDevice, until } from '../../support/device/live-device.js'
import { example } from '../../support/file-systems/served-module.js'
import { ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

t.setTimeout(120_000)

const O_RDWR = 2
const REASON = /^share \w+: a file system of a module cannot be handed over$/
const FATAL = 60
const bytesOf = (string: string) => new TextEncoder().encode(string)

/** Writes a module that notes each time it is loaded. */
function makeModule(t: Test): { module: string; loads: () => number } {
  const place = tempDir(t)
  const [module, notes] = [join(place, 'module.mjs'), join(place, 'notes')]
  writeFileSync(
    module,
    `import { appendFileSync } from 'node:fs'
     appendFileSync(${JSON.stringify(notes)}, 'x')
     export { default } from ${JSON.stringify(example('memory'))}`,
  )
  return { module, loads: () => readFileSync(notes, 'utf8').length }
}

for (const sandbox of isRoot ? (['none', 'namespace'] as const) : (['none'] as const)) {
  t.test(`a module's file system, --sandbox ${sandbox}`, async (t) => {
    const { module, loads } = makeModule(t)
    const live = await LiveDevice.start(t, ['--file-system', module], { sandbox })
    const { device } = live
    const fs = mount(t, device)
    const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
    fs.write(nodeid, handle, 0n, bytesOf('contents'))
    const { pid } = device
    await t.rejects(live.replace(), { message: REASON })
    await t.rejects(live.replace({ options: ['--log-level', 'debug'] }), { message: REASON })
    device.kill('SIGUSR2')
    const refusals = () => device.logs().filter(({ msg }) => msg === 'this process was not replaced')
    await until(
      () => refusals().length === 1,
      () => 'nothing has happened',
    )
    t.match(refusals(), [{ reason: REASON }])
    device.findServingProcess()
    t.equal(device.pid, pid, 'the same process serves')
    t.equal(Buffer.from(fs.read(nodeid, handle, 0n, 100)).toString(), 'contents')
    t.equal(loads(), 1, 'the module was loaded once')
    t.same(
      device.logs().filter(({ level }) => level >= FATAL),
      [],
    )
  })
}

t.test('a directory beside it goes on without a pause', async (t) => {
  const { module } = makeModule(t)
  const place = tempDir(t)
  mkdirSync(join(place, 'directory'))
  const other = `path=${join(place, 'directory')},socket=${join(place, 'socket')},tag=directory`
  const live = await LiveDevice.start(t, ['--file-system', module, '--tag', 'own', '--share', other])
  const fs = mount(t, { ...live.device, socketPath: join(place, 'socket') })
  const { nodeid, handle } = fs.create(ROOT_ID, 'file', O_RDWR)
  await t.rejects(live.replace(), { message: /^share own: a file system of a module cannot be handed over$/ })
  t.equal(fs.write(nodeid, handle, 0n, bytesOf('text')), 4)
})

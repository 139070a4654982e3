/** The host's end of the line to a guest's agent. */
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Agent } from '../../vm/guest/agent.js'
import { tempDir } from '../support/host/temp-dir.js'

/** A line as the host has it, and its other end, which a machine has. */
async function makeLine(t: Test): Promise<{ host: Socket; machine: Socket }> {
  const path = join(tempDir(t), 'line')
  const host = new Promise<Socket>((resolve) => {
    const server = createServer((socket) => {
      server.close()
      resolve(socket.on('error', () => {}))
    })
    server.listen(path)
  })
  await new Promise((resolve) => setTimeout(resolve, 10))
  const machine = connect(path).on('error', () => {})
  return { host: await host, machine }
}

t.test('a message that begins in one machine and ends in the next is whole', async (t) => {
  const before = await makeLine(t)
  const agent = new Agent([before.host])
  before.machine.write('{"hello":"6.12"}\n')
  t.equal(await agent.hello, '6.12')
  const { id, report } = agent.start('echo', { timeoutMs: 0 })
  const stdout = Buffer.from('one and two').toString('base64')
  const message = `{"ack":1}\n{"id":${id},"stdout":"${stdout}"}\n`
  before.machine.write(message.slice(0, 25))
  const after = await makeLine(t)
  agent.moveTo([after.host])
  // The new machine is sooner than the end of the old one.
  after.machine.write(message.slice(30))
  after.machine.write(`{"id":${id},"status":0,"signal":0,"ms":1,"timedOut":false}\n`)
  await new Promise((resolve) => setTimeout(resolve, 50))
  before.machine.write(message.slice(25, 30))
  before.machine.end()
  t.equal((await report).stdout.toString(), 'one and two')
  const commands = new Promise<string>((resolve) => {
    after.machine.on('data', (bytes) => resolve(bytes.toString()))
  })
  agent.kill(id, 9)
  t.equal(await commands, `kill ${id} 9\n`, 'commands go to the new machine')
  after.machine.destroy()
})

t.test('no command is on its way while a guest moves', async (t) => {
  const before = await makeLine(t)
  const after = await makeLine(t)
  const agent = new Agent([before.host])
  before.machine.write('{"hello":"6.1"}\n')
  await agent.hello
  const said = { before: '', after: '' }
  before.machine.on('data', (bytes) => {
    said.before += bytes
  })
  after.machine.on('data', (bytes) => {
    said.after += bytes
  })
  const settled = () => new Promise((resolve) => setTimeout(resolve, 50))
  for (const id of [1, 2]) agent.kill(id, 9)
  let isHeld = false
  const held = agent.hold().then(() => {
    isHeld = true
  })
  await settled()
  t.equal(said.before, 'kill 1 9\n')
  t.equal(isHeld, false, 'the guest may not have it yet')
  before.machine.write('{"ack":1}\n')
  await held
  await settled()
  t.equal(said.before, 'kill 1 9\n', 'the next one waits')
  agent.moveTo([after.host])
  before.machine.end()
  await settled()
  t.equal(said.after, 'kill 2 9\n')
  after.machine.write('{"ack":1}\n')
  await agent.hold()
  agent.kill(3, 9)
  await settled()
  t.equal(said.after, 'kill 2 9\n')
  agent.goOn()
  await settled()
  t.equal(said.after, 'kill 2 9\nkill 3 9\n', 'a migration that failed')
  after.machine.destroy()
})

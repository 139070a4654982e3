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

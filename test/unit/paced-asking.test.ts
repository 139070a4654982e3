import { mock } from 'node:test'
import t from 'tap'
import { PacedAsking } from '../../src/control/paced-asking.js'

/** A thread whose answers are given by the test. */
class SlowThread {
  readonly asked: string[] = []
  busyMs = 0
  private readonly replies: ((answer: unknown) => void)[] = []

  ask(name: string): Promise<unknown> {
    this.asked.push(name)
    return new Promise((resolve) => this.replies.push(resolve))
  }

  async reply(answer: unknown): Promise<void> {
    while (this.replies.length === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    this.replies.shift()?.(answer)
  }
}

t.test('commands run one at a time, in their order', async (t) => {
  const thread = new SlowThread()
  const asking = new PacedAsking(thread)
  const answers = [asking.ask('inspect', true, false), asking.ask('reset', undefined, false)]
  await thread.reply('first')
  t.equal(await answers[0], 'first')
  t.same(thread.asked, ['inspect'], 'the thread has a pause')
  await thread.reply('second')
  t.equal(await answers[1], 'second')
  t.same(thread.asked, ['inspect', 'reset'])
})

t.test('waiting clients share one report, which is made after all of them asked', async (t) => {
  const thread = new SlowThread()
  const asking = new PacedAsking(thread)
  const first = asking.ask('state', undefined, true)
  // Its making begins when this test waits for something.
  await Promise.resolve()
  await Promise.resolve()
  const late = [asking.ask('state', undefined, true), asking.ask('state', undefined, true)]
  t.equal(late[0], late[1])
  t.not(late[0], first, 'what was asked before is no answer to what is asked now')
  const other = asking.ask('inodes', { top: 1 }, true)
  await thread.reply(1)
  await thread.reply(2)
  await thread.reply(3)
  t.same(await Promise.all([first, ...late, other]), [1, 2, 2, 3])
})

t.test('commands that change something are never shared', async (t) => {
  const thread = new SlowThread()
  const asking = new PacedAsking(thread)
  const answers = [asking.ask('release', undefined, false), asking.ask('release', undefined, false)]
  await thread.reply(1)
  await thread.reply(2)
  t.same(await Promise.all(answers), [1, 2])
})

t.test('a command that is refused does not stop the others', async (t) => {
  const refusing = {
    busyMs: 0,
    ask: (name: string) => (name === 'reset' ? Promise.reject(new Error('no')) : Promise.resolve(7)),
  }
  const asking = new PacedAsking(refusing)
  await t.rejects(asking.ask('reset', undefined, false), /no/)
  t.equal(await asking.ask('state', undefined, true), 7)
})

t.test(
  'the pause is twenty times what the command took of the thread, not what its answer took',
  async (t) => {
    mock.timers.enable({ apis: ['setTimeout'] })
    t.teardown(() => mock.timers.reset())
    const turns = async () => {
      for (let n = 0; n < 10; n++) await Promise.resolve()
    }
    const asked: (() => void)[] = []
    const thread = { busyMs: 0, ask: () => new Promise((resolve) => asked.push(() => resolve(1))) }
    const asking = new PacedAsking(thread)
    for (let n = 0; n < 3; n++) void asking.ask('release', undefined, false)
    await turns()
    mock.timers.tick(5000)
    asked[0]?.()
    await turns()
    mock.timers.tick(1)
    await turns()
    t.equal(asked.length, 2, 'it answered late, but took no time')
    thread.busyMs += 10
    asked[1]?.()
    await turns()
    mock.timers.tick(199)
    await turns()
    t.equal(asked.length, 2)
    mock.timers.tick(1)
    await turns()
    t.equal(asked.length, 3)
  },
)

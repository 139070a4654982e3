/** Which share is served on which thread. */
import t from 'tap'
import { ThreadChoice } from '../../../src/live/thread-choice.js'
import type { ShareConfig } from '../../../src/share/share-config.js'
import type { ShareThread, ThreadOfSeveral } from '../../../src/share/share-threads.js'
import type { WorkerStart } from '../../../src/share/worker-messages.js'

const plain = { ownThread: false, quota: undefined, fileSystem: undefined, trace: undefined, queueThreads: 1 }
// The choice looks at nothing else.
const share = (difference: Partial<ShareConfig> = {}) => ({ ...plain, ...difference }) as ShareConfig
const some = (count: number) => Array.from({ length: count }, () => share())
const quota = { bytes: 1, inodes: 1 } as unknown as NonNullable<ShareConfig['quota']>
const fileSystem = { path: '/module.js', options: {} }

/** A thread that starts nothing, and keeps who is there. */
class Place implements ThreadOfSeveral {
  count = 0
  over = false

  constructor(
    readonly name: string,
    private readonly begun: (end: () => Promise<void>, name: string) => void,
    private readonly isShared: boolean,
  ) {}

  run() {
    this.count++
    let resolve = () => {}
    const gone = new Promise<void>((settle) => {
      resolve = settle
    })
    const end = async () => {
      if (--this.count === 0 && this.isShared) this.over = true
      resolve()
      await gone
    }
    this.begun(end, this.name)
    return { gone, allowed: () => {} }
  }
}

/** Begins shares. Each returns the name of its thread, and a function that ends it. */
function choose(limit: number, expected: readonly ShareConfig[], withMain = false) {
  let last = { end: async () => {}, name: '' }
  let made = 0
  const begun = (end: () => Promise<void>, name: string) => {
    last = { end, name }
  }
  const place = (kind: string, isShared: boolean) => new Place(`${kind} ${++made}`, begun, isShared)
  const main = withMain ? new Place('main', begun, false) : undefined
  const choice = new ThreadChoice(limit, expected, main, {
    own: () => place('own', false),
    shared: () => place('shared', true),
  })
  return (config = share()) => {
    const thread: ShareThread = choice.threadFor(config)
    thread.run({} as WorkerStart, () => {})
    return last
  }
}

const names = (begin: ReturnType<typeof choose>, configs: readonly ShareConfig[]) =>
  configs.map((config) => begin(config).name)

t.test('few shares have a thread each', async (t) => {
  t.same(names(choose(4, some(3)), some(3)), ['own 1', 'own 2', 'own 3'])
  t.same(names(choose(4, some(4), true), some(4)), ['main', 'own 1', 'own 2', 'own 3'])
})

t.test('many shares from the start are divided evenly', async (t) => {
  const both = ['shared 1', 'shared 2']
  t.same(names(choose(2, some(6)), some(6)), [...both, ...both, ...both])
  t.same(names(choose(2, some(4), true), some(4)), ['main', 'shared 1', 'main', 'shared 1'])
  t.same(names(choose(1, some(3), true), some(3)), ['main', 'main', 'main'])
  t.same(names(choose(1, some(3)), some(3)), ['shared 1', 'shared 1', 'shared 1'])
})

t.test('shares that come later get threads up to the limit, and then live together on others', async (t) => {
  const begin = choose(2, some(1))
  t.same(names(begin, some(6)), ['own 1', 'own 2', 'shared 3', 'shared 4', 'shared 3', 'shared 4'])
})

t.test('a thread that has lost its last share is not used again; a place that is free is', async (t) => {
  const begin = choose(1, some(1))
  const [first, second, third] = [begin(), begin(), begin()]
  t.same([first.name, second.name, third.name], ['own 1', 'shared 2', 'shared 2'])
  await second.end()
  t.equal(begin().name, 'shared 2')
  await third.end()
  await first.end()
  t.equal(begin().name, 'shared 2', 'a thread that is there serves one more')
  const other = choose(1, some(1))
  const [own, alone] = [other(), other()]
  await alone.end()
  t.equal(other().name, 'shared 3')
  await own.end()
  t.equal(other().name, 'shared 3')
})

t.test('some shares have a thread to themselves', async (t) => {
  for (const config of [share({ ownThread: true }), share({ quota }), share({ fileSystem })]) {
    const all = [...some(3), config]
    t.same(names(choose(1, all), all), ['shared 1', 'shared 1', 'shared 1', 'own 2'])
    t.same(names(choose(1, all, true), all), ['main', 'main', 'main', 'own 1'])
  }
})

t.test('a share that is alone is on the main thread, unless it cannot be', async (t) => {
  const alone = (config: ShareConfig) => names(choose(2, [config], true), [config])
  t.same(alone(share()), ['main'])
  t.same(alone(share({ quota })), ['main'])
  t.same(alone(share({ ownThread: true })), ['own 1'])
  t.same(alone(share({ fileSystem })), ['own 1'])
  t.same(alone(share({ trace: '/trace' })), ['own 1'])
  t.same(alone(share({ queueThreads: 2 })), ['main'])
  const two = [share({ queueThreads: 2 }), share({ queueThreads: 2 })]
  t.same(names(choose(2, two, true), two), ['own 1', 'own 2'], 'another one would wait with it')
})

t.test('shares with threads for their queues live together where there are many', async (t) => {
  const all = Array.from({ length: 4 }, () => share({ queueThreads: 2 }))
  t.same(names(choose(2, all, true), all), ['main', 'shared 1', 'main', 'shared 1'])
})

t.test('shares that are traced find a thread, although the main thread is the only one', async (t) => {
  const traced = share({ trace: '/trace' })
  t.same(names(choose(1, [share(), traced], true), [share(), traced]), ['main', 'shared 1'])
})

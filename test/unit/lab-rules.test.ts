/** What the lab expects of a kernel by what it negotiated, for kernels that no test boots. */
import t from 'tap'
import { allCases, selectCases } from '../../vm/lab/all-cases.js'
import { flagsOf, type GuestFacts } from '../../vm/lab/kernel-rules.js'
import { OPTION_SETS, type ShareName } from '../../vm/lab/option-sets.js'

/** What a kernel agrees on with a share of the lab. */
function factsOf(share: ShareName, minor: number, release: string): GuestFacts {
  const { options } = OPTION_SETS.find(({ name }) => name === share)!
  const asksMmap = options['allow-mmap'] === true
  return {
    share,
    release,
    minor,
    parallelDio: options['parallel-dio'] === true,
    asksMmap,
    allowMmap: asksMmap && minor >= 39,
    asyncDio: options['init-off'] !== 'ASYNC_DIO',
    passthrough: options.passthrough === true && minor >= 40,
  }
}

const kernels = {
  '5.19': 36,
  '6.1.176': 38,
  '6.5.13': 38,
  '6.6.5': 39,
  '6.6.8': 39,
  '6.8.12': 39,
  '6.9.0': 40,
  '6.12.117': 41,
  '7.3.4': 46,
  '9.1.0': 60,
}

/** The expected cells of a case, kernel by kernel. */
function row(name: string, share: ShareName): (string | undefined)[] {
  const found = allCases.find((known) => known.name === name)!
  return Object.entries(kernels).map(([release, minor]) => found.expected(factsOf(share, minor, release)))
}

const ENODEV_BEFORE_6_6 = ['ENODEV', 'ENODEV', 'ENODEV', ...Array(7).fill('works')]
const none = undefined

for (const [name, share, expected] of [
  ['overlap/non-extending', 'direct', Array(10).fill('1')],
  ['overlap/non-extending', 'parallel', ['1', ...Array(9).fill('8')]],
  // 6.6.8 to 6.8: allow-mmap switches it off for the whole mount.
  ['overlap/non-extending', 'parallel+mmap', ['1', '8', '8', '8', '1', '1', '8', '8', '8', '8']],
  ['overlap/extending', 'parallel', Array(10).fill('1')],
  ['overlap/append', 'parallel+mmap', Array(10).fill('1')],
  ['overlap/o-direct', 'auto', Array(10).fill('1')],
  ['mmap/negotiated', 'parallel+mmap', [...Array(3).fill('not offered'), ...Array(7).fill('agreed')]],
  ['mmap/shared', 'direct', Array(10).fill('ENODEV')],
  ['mmap/shared', 'mmap', ENODEV_BEFORE_6_6],
  ['mmap/shared-read', 'parallel', Array(10).fill('ENODEV')],
  ['mmap/private', 'direct', Array(10).fill('works')],
  [
    'io-mode/mapped',
    'parallel+mmap',
    [
      ...[none, none, none, '8 > 8 > 8 > 8', '1 > 1 > 1 > 1', '1 > 1 > 1 > 1'],
      ...Array(4).fill('8 > 1 > 1 > 8'),
    ],
  ],
  [
    'io-mode/cached-open',
    'parallel',
    ['1 > 1 > 1', ...Array(5).fill('8 > 8 > 8'), ...Array(4).fill('8 > 1 > 8')],
  ],
  ['io-mode/cached-open-waits', 'parallel', [...Array(6).fill('does not wait'), ...Array(4).fill('waits')]],
  [
    'io-mode/mmap-waits',
    'parallel+mmap',
    [none, none, none, ...Array(3).fill('does not wait'), ...Array(4).fill('waits')],
  ],
  // Of the pages that a direct write leaves in the cache, releases with the same FUSE version differ.
  [
    'mmap/peek-during-write',
    'mmap',
    [none, none, none, ...Array(4).fill('old data'), ...Array(3).fill('new data')],
  ],
  [
    'mmap/peek-during-aio',
    'mmap',
    [none, none, none, ...Array(5).fill('old data'), ...Array(2).fill('new data')],
  ],
  [
    'mmap/peek-during-append',
    'mmap',
    [none, none, none, ...Array(4).fill('old data'), ...Array(3).fill('new data')],
  ],
  ['data/tail-truncate', 'auto', [...Array(7).fill(none), ...Array(3).fill('zeros')]],
  ['data/tail-write', 'writeback', Array(10).fill('stays')],
  [
    'names/removed-on-host',
    'always',
    [...Array(2).fill('there there there'), ...Array(5).fill(none), ...Array(3).fill('there absent absent')],
  ],
  ['async/libaio-buffered', 'direct', [...Array(8).fill('1'), '8', '8']],
  [
    'requests/copy-range',
    'direct-noasync',
    [...Array(8).fill('old, old, old'), ...Array(2).fill('new, new old, old')],
  ],
  ['data/short-cached', 'auto', [...Array(8).fill('1000: 9x1000 7x3096'), ...Array(2).fill('1000: 9x4096')]],
  ['async/synchronous', 'direct', Array(10).fill('1')],
  ['async/libaio', 'direct', Array(10).fill('8')],
  ['async/libaio', 'direct-noasync', Array(10).fill('1')],
  ['async/io_uring', 'parallel-noasync', ['1', ...Array(9).fill('8')]],
] as const) {
  t.test(`${name} on ${share}`, async (t) => t.same(row(name, share), expected))
}

t.test(
  'every case has a name of its own, and an expectation for each of its shares on a new kernel',
  async (t) => {
    // Of this one kernel-rules.ts says nothing since 7.4.
    const unknown = new Set(['requests/largest-read'])
    t.equal(new Set(allCases.map(({ name }) => name)).size, allCases.length)
    for (const { name, shares, expected } of allCases)
      for (const share of shares)
        t.type(
          expected(factsOf(share, 60, '9.1.0')),
          unknown.has(name) ? 'undefined' : 'string',
          `${name} on ${share}`,
        )
  },
)

t.test('a probe finds out if the driver compares replies with requests', async (t) => {
  const { expected } = allCases.find(({ name }) => name === 'replies/broken')!
  const at = (release: string, refusesWrongUnique?: boolean) =>
    expected({
      ...factsOf('direct', 41, release),
      ...(refusesWrongUnique === undefined ? {} : { refusesWrongUnique }),
    })
  t.equal(at('6.12.200', true), 'EIO > EIO > EIO > EIO > EIO', 'a stable release that has the check')
  t.equal(at('6.12.117', false), '4096', 'one that has not is not harmed')
  t.equal(
    at('7.1.0', false),
    'EIO > EIO > EIO > EIO > EIO',
    'since 7.1 the version says so, whatever a probe saw',
  )
})

t.test('releases between two that are known have no expectation', async (t) => {
  const row = (name: string, share: ShareName, ...releases: string[]) =>
    releases.map((release) =>
      allCases.find((known) => known.name === name)!.expected(factsOf(share, 45, release)),
    )
  t.same(row('mmap/peek-during-write', 'mmap', '6.12.63', '6.12.64', '6.18.0', '6.18.3', '6.19.0'), [
    ...['old data', 'new data', 'old data', undefined, 'new data'],
  ])
  t.same(row('mmap/peek-during-aio', 'mmap', '6.17.0', '6.18.0', '7.1.9', '7.2.0'), [
    ...['old data', undefined, undefined, 'new data'],
  ])
  t.same(row('mmap/peek-during-append', 'mmap', '6.12.64', '6.19.0', '7.3.0'), [
    ...['new data', undefined, 'new data'],
  ])
  t.same(row('async/libaio-buffered', 'direct', '6.12.9', '6.13.0', '7.3.0'), ['1', undefined, '8'])
})

t.test('a kernel has to offer the INIT flags of its version', (t) => {
  const flags = (share: ShareName, minor: number) => flagsOf(factsOf(share, minor, '6.12.0')) ?? []
  t.equal(flagsOf(factsOf('direct', 36, '5.19.0')), undefined, 'not known of older kernels')
  t.notOk(flags('direct', 38).includes('CREATE_SUPP_GROUP'), 'Linux 6.1')
  t.ok(flags('direct', 39).includes('CREATE_SUPP_GROUP'))
  t.notOk(flags('direct', 40).includes('ALLOW_IDMAP'))
  t.ok(flags('direct', 41).includes('ALLOW_IDMAP'))
  t.same(
    [38, 39].map((minor) => flags('mmap', minor).includes('DIRECT_IO_ALLOW_MMAP')),
    [false, true],
  )
  t.notOk(flags('direct', 41).includes('DIRECT_IO_ALLOW_MMAP'), 'the share does not ask for it')
  t.end()
})

t.test('cases are chosen by a glob', async (t) => {
  t.same(selectCases('**'), allCases)
  t.same(
    selectCases('mmap/shared*').map(({ name }) => name),
    ['mmap/shared', 'mmap/shared-read'],
  )
  t.throws(
    () => selectCases('overlap'),
    /no case is called overlap\. There are async\/\*, .*, overlap\/\*, .*: --list names them all$/,
  )
})

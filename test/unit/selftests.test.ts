/** `make selftests`: the programs of a tree that are tests, and the meaning of their results. */
import t from 'tap'
import { buildSelftests, selftestOutcome, testsOf } from '../../vm/lab/tree/selftests.js'

t.test('the tests are those that the Makefile names', async (t) => {
  const makefile = 'TEST_GEN_PROGS := fusectl_test\nTEST_GEN_PROGS += a b\nTEST_GEN_FILES := fuse_mnt\n'
  t.same(testsOf(makefile), ['fusectl_test', 'a', 'b'])
})

t.test('statuses are those of kselftest', async (t) => {
  t.same([0, 4, 1, 2, null].map(selftestOutcome), ['pass', 'skip', 'fail', 'fail', 'fail'])
})

t.test('a tree without them is refused', async (t) => {
  const tree = t.testdir({ fs: { fuse: { Kconfig: '' } } })
  await t.rejects(buildSelftests(tree), { name: 'SetupError', message: /Linux has it since 6\.17/ })
})

/** The command of an installed package, which has no guests, says where it would work. */
import t from 'tap'
import { runBench } from '../../../src/commands/bench.js'

t.test('bench without vm/ says what is missing', async (t) => {
  t.throws(() => runBench([], '/nonsense/main.js'), {
    name: 'UserError',
    message: /lacks the parts that boot guests \(vm\/\): run make bench in a checkout/,
  })
})

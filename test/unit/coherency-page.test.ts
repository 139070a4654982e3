/** docs/coherency.md promises what is tested, by the names of the tests. */
import { readFileSync } from 'node:fs'
import t from 'tap'

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')

t.test('every row that names a test has one, and every test has a row', async (t) => {
  const rows = read('docs/coherency.md').matchAll(/\| `([a-z ]+: [^`]+)` \|$/gm)
  const tests = read('test/guest/coherency.test.ts').matchAll(/^t\.test\(\s*'([a-z ]+: [^']+)'/gm)
  const named = [...rows].map(([, name]) => name).sort()
  t.ok(named.length > 15)
  t.same(named, [...tests].map(([, name]) => name).sort())
})

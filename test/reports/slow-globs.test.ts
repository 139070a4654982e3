/** Globs that take long on a name that a guest could choose are refused. */
import t from 'tap'
import { compileGlob } from '../../src/io-mode/open-rules.js'

t.test('globs that would take long on some name are refused', async (t) => {
  for (const glob of [
    '*a*a*a*b',
    '**/*a*a*a*b',
    '?*?*?*?*',
    '**/a/**/b/**/c',
    '+(a|aa)b',
    '*(a*)b',
    '!(a*)',
    '{*a*a*a*b,c}',
  ])
    t.throws(() => compileGlob(glob), /more than|not supported/, glob)
})

t.test('globs that people write are accepted', async (t) => {
  for (const [glob, path] of [
    ['*.{jpg,png}', 'a.png'],
    ['**/.git/**', 'x/.git/objects/1'],
    ['db/**', 'db/a/b'],
    ['*a*b*', 'xaxbx'],
    ['*/*/*/*', 'a/b/c/d'],
    ['[*][*][*][*]', '****'],
    ['\\*\\*\\*\\*', '****'],
    ['a\\(b', 'a(b'],
  ] as const)
    t.ok(compileGlob(glob)(path), `${glob} is for ${path}`)
  // The longest path; it ends, which the others would not.
  t.notOk(compileGlob('**/*a*a*')(`${'a/'.repeat(2047)}b`))
  t.notOk(compileGlob('*a*a*b')('a'.repeat(255)))
})

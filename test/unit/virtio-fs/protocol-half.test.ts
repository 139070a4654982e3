/** The protocol half of virtio-fs-ts runs where no addon was compiled. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'

/** Returns what a compiled module imports from outside its package, directly and through other modules. */
function foreignImports(url: URL, seen = new Set<string>()): Set<string> {
  const foreign = new Set<string>()
  if (seen.has(url.href)) return foreign
  seen.add(url.href)
  for (const [, specifier] of readFileSync(fileURLToPath(url), 'utf8').matchAll(/from '([^']+)'/g)) {
    if (!specifier.startsWith('.')) foreign.add(specifier)
    else for (const other of foreignImports(new URL(specifier, url), seen)) foreign.add(other)
  }
  return foreign
}

const entry = (name: string) => new URL(import.meta.resolve(name))

t.test('virtio-fs-ts/protocol imports nothing but what Node brings', async (t) => {
  t.same([...foreignImports(entry('virtio-fs-ts/protocol'))].sort(), [
    'node:fs',
    'node:os',
    'node:perf_hooks',
  ])
})

t.test('the device needs vhost-user-ts, and the addon through it alone', async (t) => {
  t.notOk(foreignImports(entry('virtio-fs-ts')).has('virtiofsd-ts-native'))
})

/** Each package that this repository depends on has a line in CONTRIBUTING.md that says what for, and no other has. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

interface Manifest {
  readonly name: string
  readonly workspaces?: readonly string[]
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  readonly optionalDependencies?: Readonly<Record<string, string>>
}

const read = (folder: string) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest

t.test('each package has its line in CONTRIBUTING.md, and each line its package', async (t) => {
  const main = read('.')
  const manifests = [main, ...(main.workspaces ?? []).map(read)]
  const own = new Set(manifests.map(({ name }) => name))
  const wanted = manifests.flatMap((manifest) =>
    Object.keys({
      ...manifest.dependencies,
      ...manifest.devDependencies,
      ...manifest.optionalDependencies,
    }).filter((name) => !own.has(name)),
  )
  const [, section = ''] = /^## Dependencies\n(.*?)^## /ms.exec(readFileSync('CONTRIBUTING.md', 'utf8')) ?? []
  const told = [...section.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(([, cell]) =>
    [...(cell as string).matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  )
  t.same([...told].sort(), [...new Set(wanted)].sort())
})

/** Imports point down only, in the order that CONTRIBUTING.md gives. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, normalize } from 'node:path'
import t from 'tap'

/** A room: a folder and, if the list names them, the only rooms that may import it. */
interface Room {
  readonly folder: string
  readonly visitors: readonly string[] | undefined
}

interface Import {
  readonly from: string
  readonly to: string
}

const rooms = readRooms(readFileSync('CONTRIBUTING.md', 'utf8'))
const packages = readPackages()
const files = ['src', 'vm', 'test'].flatMap((top) =>
  readdirSync(top, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !/(^|\/)(dist|node_modules)\//.test(name))
    .map((name) => join(top, name)),
)
const imports = files.flatMap(importsOf)

/** The block "rooms" of a page: a folder on each line, from the top down. */
function readRooms(page: string): readonly Room[] {
  const [, block = ''] = /^```rooms\n(.*?)^```/ms.exec(page) ?? []
  return block
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [, visitors] = /imported by (.*) alone/.exec(line) ?? []
      return { folder: line.split(' ')[0] as string, visitors: visitors?.split(/, | and /) }
    })
}

/** The folders of the packages in this repository, by name. */
function readPackages(): ReadonlyMap<string, string> {
  const { workspaces } = JSON.parse(readFileSync('package.json', 'utf8')) as { workspaces: string[] }
  return new Map(
    workspaces.map((folder) => {
      const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name: string }
      return [name, folder]
    }),
  )
}

function importsOf(file: string): readonly Import[] {
  const source = readFileSync(file, 'utf8')
  const found = source.matchAll(/(?:^|[;}\s])(?:from|import)\s*\(?\s*'([^']+)'/g)
  return [...found].flatMap(([, specifier]) => {
    const to = placeOf(file, specifier as string)
    return to === undefined ? [] : [{ from: file, to }]
  })
}

/** The file that is imported, or the folder of a package; undefined for what is not of this repository. */
function placeOf(file: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) return normalize(join(file, '..', specifier)).replace(/\.js$/, '.ts')
  if (specifier.startsWith('#')) return `src/${specifier.slice(1)}.ts`
  const name = specifier.split('/')[0] as string
  const folder = packages.get(name)
  return folder && folder + specifier.slice(name.length)
}

/** The room that a file lies in: the longest folder that it is below. */
function roomOf(file: string): Room | undefined {
  return rooms
    .filter(({ folder }) => file === folder || file.startsWith(`${folder}/`))
    .sort((a, b) => b.folder.length - a.folder.length)[0]
}

/** Says what is wrong with an import. */
function complaintOf({ from, to }: Import): string | undefined {
  const [room, other] = [roomOf(from), roomOf(to)]
  if (room === undefined) return `${from} lies in no room`
  if (other === undefined) return `${to} lies in no room`
  if (room === other) return undefined
  if (rooms.indexOf(other) < rooms.indexOf(room)) return `${from} imports ${to}`
  const isWelcome =
    other.visitors === undefined || other.visitors.includes(room.folder) || room.folder === 'test'
  return isWelcome ? undefined : `${room.folder} imports ${other.folder}`
}

/** Files that import each other, be it through others, each group sorted. */
function circles(edges: readonly Import[]): string[][] {
  const next = new Map<string, string[]>()
  for (const { from, to } of edges) next.set(from, [...(next.get(from) ?? []), to])
  const reach = (start: string) => {
    const seen = new Set<string>()
    const waiting = [...(next.get(start) ?? [])]
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
      if (seen.has(file)) continue
      seen.add(file)
      waiting.push(...(next.get(file) ?? []))
    }
    return seen
  }
  const reached = new Map([...next.keys()].map((file) => [file, reach(file)]))
  const groups = [...reached]
    .filter(([file, others]) => others.has(file))
    .map(([file, others]) => [...others].filter((other) => reached.get(other)?.has(file)).sort())
  return [...new Map(groups.map((group) => [group.join(), group])).values()]
}

t.test('there is an order, and every file has a room in it', async (t) => {
  t.ok(rooms.length > 15)
  t.ok(imports.length > 1000)
  for (const { folder } of rooms) t.ok(readdirSync(folder).length > 0, folder)
})

t.test('every import points down', async (t) => {
  const complaints = new Set(imports.map(complaintOf).filter((complaint) => complaint !== undefined))
  t.same([...complaints], [])
})

t.test("the insides of a package are for tests alone: '#vhost-user/...'", async (t) => {
  const insiders = files.filter((file) => / from '#/.test(readFileSync(file, 'utf8')))
  t.ok(insiders.length > 0)
  t.same(
    insiders.filter((file) => !file.startsWith('test/')),
    [],
  )
})

t.test('guest, packages and host are a library: they need nothing else of this repository', async (t) => {
  const library = /^vm\/(guest|packages|host)\//
  const others = imports.filter(({ from, to }) => library.test(from) && !library.test(to))
  t.ok(imports.some(({ from }) => library.test(from)))
  t.same(others, [])
})

t.test('no files import each other', async (t) => {
  const found = circles(imports.filter(({ to }) => to.endsWith('.ts')))
  t.same(found, [])
})

t.test('an import that points up, or into a room that is closed to it, is reported', async (t) => {
  t.equal(complaintOf({ from: 'src/main.ts', to: 'src/config/command-line.ts' }), undefined)
  t.equal(
    complaintOf({ from: 'src/config/command-line.ts', to: 'src/main.ts' }),
    'src/config/command-line.ts imports src/main.ts',
  )
  t.equal(
    complaintOf({ from: 'src/virtio-fs/wire/attr.ts', to: 'src/passthrough/replies.ts' }),
    'src/virtio-fs/wire/attr.ts imports src/passthrough/replies.ts',
  )
  t.equal(complaintOf({ from: 'src/inspect/holds.ts', to: 'native' }), 'src/inspect imports native')
  t.equal(complaintOf({ from: 'src/sandbox/launch.ts', to: 'native' }), undefined)
  t.match(complaintOf({ from: 'src/elsewhere.js', to: 'tools/a.ts' }), /lies in no room/)
})

t.test('a circle is found, however long', async (t) => {
  const edges = ['ab', 'bc', 'ca', 'cd', 'de', 'ff'].map(([from, to]) => ({ from, to }) as Import)
  t.same(circles(edges), [['a', 'b', 'c'], ['f']])
})

/**
 * Bundles dist/src into dist/program: a few files in place of two hundred. The program starts in two thirds of the
 * time, and needs three quarters of the memory. Each package of others becomes one CommonJS file, which is required: of
 * one that is imported, Node would first read the whole text for its names, which leaves 2 MiB of garbage.
 *
 * Rollup leaves a constant a constant. V8 then compiles its value into the code of a request; bundlers that make
 * variables of them cost 5 % of a GETATTR.
 */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { rollup } from 'rollup'

const OUT = 'dist/program'

/** A process or a thread begins in each of these. Bundled apart, each has only what it uses. */
const ENTRIES = [
  'main.js',
  'confined.js',
  'helper.js',
  'share/share-worker.js',
  'share/share-on-main-thread.js',
]

/** Libraries of this repository, which are bundled. The addon is none: it finds its binaries beside itself. */
const OWN = /^(vhost-user-ts|virtio-fs-ts)(\/|$)/

/** Packages of others that the program needs. */
const PACKAGES = ['commander', 'picomatch', 'pino', 'toml-eslint-parser']
const REQUIRED = '\0required:'

/** `root` leads from the bundle's folder to OUT. */
const sourcesFor = (root) => ({
  name: 'sources',
  resolveId(id) {
    if (OWN.test(id)) return fileURLToPath(import.meta.resolve(id))
    if (PACKAGES.includes(id)) return { id: REQUIRED + id, syntheticNamedExports: 'all' }
    return /^[./]/.test(id) ? null : { id, external: true }
  },
  /** Adds the map of the compiler, so that the bundle's map leads to the TypeScript. */
  load: (path) =>
    path.startsWith(REQUIRED)
      ? requiring(`${root}/${path.slice(REQUIRED.length)}.cjs`)
      : { code: readFileSync(path, 'utf8'), map: readFileSync(`${path}.map`, 'utf8') },
  /** A file of dist/src/FOLDER looks for others by its own place. It finds them from dist/program/FOLDER, too. */
  resolveImportMeta: (property, { moduleId }) =>
    property === 'url' && !moduleId.startsWith(REQUIRED)
      ? `new URL('${root}/folder/file.js', import.meta.url).href`
      : null,
})

const requiring = (path) => `
  import { createRequire } from 'node:module'
  export const all = createRequire(import.meta.url)('${path}')
  export default all`

rmSync(OUT, { recursive: true, force: true })
for (const entry of ENTRIES) {
  const bundle = await rollup({
    input: resolve('dist/src', entry),
    plugins: [sourcesFor(relative(dirname(entry), './') || '.')],
    // To load a library does nothing by itself.
    treeshake: { moduleSideEffects: (path) => path.startsWith(resolve('dist/src')) },
    onwarn: ({ message }) => {
      throw new Error(message)
    },
  })
  const { output } = await bundle.write({ dir: join(OUT, dirname(entry)), format: 'es', sourcemap: true })
  for (const { type, fileName } of output) if (type === 'chunk') narrow(join(OUT, dirname(entry), fileName))
}

for (const id of PACKAGES) {
  const outfile = join(OUT, `${id}.cjs`)
  await build({
    entryPoints: [fileURLToPath(import.meta.resolve(id))],
    outfile,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
  })
  narrow(outfile)
}

// The program of a share that is added when the process sees no files any more: one script, kept in memory from the
// start. esbuild puts the packages of others into it, too. It makes variables of constants, but for those whose value it
// writes in their place: minifySyntax.
const SCRIPT = 'share/share-worker.cjs'
await build({
  entryPoints: ['dist/src/share/share-worker.js'],
  outfile: `${OUT}/${SCRIPT}`,
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  minifySyntax: true,
  logLevel: 'warning',
  // A script has no place of its own; what asks for one is not used there.
  logOverride: { 'empty-import-meta': 'silent' },
})
cpSync(`${OUT}/${SCRIPT}`, `dist/src/${SCRIPT}`)

/** Escapes what Latin-1 lacks, for which V8 would keep the whole file in memory with two bytes for each character. */
function narrow(path) {
  const escaped = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  writeFileSync(path, readFileSync(path, 'utf8').replace(/[\u0100-\uffff]/g, escaped))
}

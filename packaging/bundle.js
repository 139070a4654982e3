/**
 * Bundles dist/src into dist/program: a few files in place of two hundred. The program starts in two thirds of the
 * time, and needs three quarters of the memory. Packages of others stay packages.
 *
 * Rollup leaves a constant a constant. V8 then compiles its value into the code of a request; bundlers that make
 * variables of them cost 5 % of a GETATTR.
 */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
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

const sources = {
  name: 'sources',
  resolveId(id) {
    if (OWN.test(id)) return fileURLToPath(import.meta.resolve(id))
    return /^[./]/.test(id) ? null : { id, external: true }
  },
  /** Adds the map of the compiler, so that the bundle's map leads to the TypeScript. */
  load: (path) => ({ code: readFileSync(path, 'utf8'), map: readFileSync(`${path}.map`, 'utf8') }),
  /** A file of dist/src/FOLDER looks for others by its own place. It finds them from dist/program/FOLDER, too. */
  resolveImportMeta: (property) =>
    property === 'url' ? "new URL('./folder/file.js', import.meta.url).href" : null,
}

rmSync(OUT, { recursive: true, force: true })
for (const entry of ENTRIES) {
  const bundle = await rollup({
    input: resolve('dist/src', entry),
    plugins: [sources],
    // To load a library does nothing by itself.
    treeshake: { moduleSideEffects: (path) => path.startsWith(resolve('dist/src')) },
    onwarn: ({ message }) => {
      throw new Error(message)
    },
  })
  const { output } = await bundle.write({ dir: join(OUT, dirname(entry)), format: 'es', sourcemap: true })
  for (const { type, fileName } of output) if (type === 'chunk') narrow(join(OUT, dirname(entry), fileName))
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

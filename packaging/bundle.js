/**
 * Bundles dist/src into dist/program: a few files in place of two hundred. The program starts in two thirds of the
 * time, and needs three quarters of the memory. Packages of others stay packages.
 */
import { cpSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'

const OUT = 'dist/program'

/** A process or a thread begins in each of these. Bundled apart, each has only what it uses. */
const ENTRIES = ['main.js', 'confined.js', 'helper.js', 'share/share-worker.js']

const { dependencies, optionalDependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
/** Libraries of this repository, which are bundled. The addon is none: it finds its binaries beside itself. */
const OWN = ['vhost-user-ts', 'virtio-fs-ts']

rmSync(OUT, { recursive: true, force: true })
for (const entry of ENTRIES) {
  await build({
    entryPoints: [join('dist/src', entry)],
    outdir: join(OUT, dirname(entry)),
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => !OWN.includes(name)),
    // A file of dist/src/FOLDER looks for others by its own place. It finds them from dist/program/FOLDER, too.
    define: { 'import.meta.url': 'moduleUrl' },
    banner: { js: "const moduleUrl = new URL('./folder/file.js', import.meta.url).href" },
    sourcemap: 'linked',
    logLevel: 'warning',
  })
}

// The program of a share that is added when the process sees no files any more: one script, kept in memory from the start.
const SCRIPT = 'share/share-worker.cjs'
await build({
  entryPoints: ['dist/src/share/share-worker.js'],
  outfile: `${OUT}/${SCRIPT}`,
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  logLevel: 'warning',
  // A script has no place of its own; what asks for one is not used there.
  logOverride: { 'empty-import-meta': 'silent' },
})
cpSync(`${OUT}/${SCRIPT}`, `dist/src/${SCRIPT}`)

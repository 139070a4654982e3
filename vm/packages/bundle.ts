import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { showProgress } from '../host/progress.js'
import { cached } from './cache.js'
import { collectProgram } from './collected-program.js'
import { DebianSuite } from './debian-suite.js'
import { unpackPackage } from './unpack.js'

/** The Debian packages of a bundle, and the few files to keep from them. */
interface BundleSource {
  suite: string
  packages: string[]
  /** Programs to keep in `bin/`, with their libraries in `lib/`. */
  programs: string[]
  /** Files to keep in `files/` under their last name. */
  files: string[]
}

// Firmware that a PC without screen and network needs.
const FIRMWARE = [
  'usr/share/seabios/bios-256k.bin',
  'usr/share/qemu/kvmvapic.bin',
  'usr/share/qemu/linuxboot_dma.bin',
]
const QEMU = { packages: ['qemu-system-x86'], programs: ['usr/bin/qemu-system-x86_64'], files: FIRMWARE }
const VIRTIOFSD = { packages: ['virtiofsd'], programs: ['usr/libexec/virtiofsd'], files: [] }

const SOURCES = {
  'qemu-7.2': {
    suite: 'bookworm',
    packages: ['qemu-system-x86', 'qemu-system-common'],
    // This release still has the virtiofsd that was written in C.
    programs: ['usr/bin/qemu-system-x86_64', 'usr/lib/qemu/virtiofsd'],
    files: [...FIRMWARE, 'usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so'],
  },
  'qemu-10': { suite: 'trixie', ...QEMU },
  'qemu-11': { suite: 'trixie-backports', ...QEMU },
  'virtiofsd-1.13': { suite: 'trixie', ...VIRTIOFSD },
  'virtiofsd-1.14': { suite: 'sid', ...VIRTIOFSD },
  git: { suite: 'trixie', packages: ['git'], programs: ['usr/bin/git'], files: [] },
  e2fsprogs: {
    suite: 'trixie',
    packages: ['e2fsprogs'],
    programs: ['usr/sbin/mke2fs', 'usr/sbin/e2fsck'],
    files: [],
  },
  fio: { suite: 'trixie', packages: ['fio'], programs: ['usr/bin/fio'], files: [] },
  prometheus: {
    suite: 'trixie',
    packages: ['prometheus'],
    programs: ['usr/bin/prometheus', 'usr/bin/promtool'],
    files: [],
  },
  bindfs: { suite: 'bookworm', packages: ['bindfs'], programs: ['usr/bin/bindfs'], files: [] },
  busybox: { suite: 'trixie', packages: ['busybox-static'], programs: [], files: ['usr/bin/busybox'] },
} satisfies Record<string, BundleSource>

export type BundleName = keyof typeof SOURCES

/** Returns the cached folder of a bundle: `bin/`, `lib/`, `files/`, and `packages.txt` with the exact versions. */
export function fetchBundle(name: BundleName): Promise<string> {
  const source: BundleSource = SOURCES[name]
  return cached(name, (dir) =>
    showProgress(`fetching ${name} from Debian ${source.suite}`, () =>
      unpackPackages(
        source.suite,
        (suite) => suite.download(source.packages, source.programs.length > 0 ? 'dependencies' : 'alone'),
        async (tree) => {
          for (const path of source.programs) await collectProgram(tree, path, dir)
          mkdirSync(join(dir, 'files'))
          for (const path of source.files) copyFileSync(join(tree, path), join(dir, 'files', basename(path)))
        },
        dir,
      ),
    ),
  )
}

/**
 * Downloads packages, unpacks them into one tree, lets `keep` copy files from the tree, and removes the rest. Writes
 * the names and versions of the packages to `packages.txt` in `dir`.
 */
export async function unpackPackages(
  suiteName: string,
  download: (suite: DebianSuite) => Promise<string[]>,
  keep: (tree: string) => Promise<void>,
  dir: string,
): Promise<void> {
  const tree = join(dir, 'unpacked')
  mkdirSync(tree)
  await DebianSuite.use(suiteName, async (suite) => {
    const debs = await download(suite)
    for (const deb of debs) await unpackPackage(deb, tree)
    const names = debs.map((deb) => decodeURIComponent(basename(deb, '.deb')))
    writeFileSync(join(dir, 'packages.txt'), `${names.sort().join('\n')}\n`)
  })
  await keep(tree)
  rmSync(tree, { recursive: true })
}

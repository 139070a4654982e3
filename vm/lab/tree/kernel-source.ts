import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../../host/command.js'
import { showProgress } from '../../host/progress.js'
import { SetupError } from '../../host/setup-error.js'
import { cached } from '../../packages/cache.js'
import { DebianSuite } from '../../packages/debian-suite.js'
import { unpackPackage } from '../../packages/unpack.js'

/** The sources that Debian has: of trixie, and the newest of its backports. */
export const SOURCE_NAMES = ['6.12', '7'] as const
export type SourceName = (typeof SOURCE_NAMES)[number]

const SUITES: Readonly<Record<SourceName, string>> = { '6.12': 'trixie', '7': 'trixie-backports' }
/** The package that depends on a suite's newest source. */
const NEWEST = 'linux-source'
const SOURCE_PACKAGE = /^linux-source-\d+\.\d+$/

/** Returns the cached, unpacked tree of one of Debian's kernels. Do not write to it. */
export function fetchKernelSource(name: SourceName = '6.12'): Promise<string> {
  return cached(`linux-source-${name}`, (dir) =>
    showProgress(`fetching the source of Linux ${name} from Debian ${SUITES[name]}`, () =>
      DebianSuite.use(SUITES[name], async (suite) => {
        const packages = (await suite.followDependencies(NEWEST, SOURCE_PACKAGE)).filter((found) =>
          SOURCE_PACKAGE.test(found),
        )
        const unpacked = join(dir, 'package')
        mkdirSync(unpacked)
        for (const deb of await suite.download(packages, 'alone')) await unpackPackage(deb, unpacked)
        const sources = join(unpacked, 'usr/src')
        const archive = readdirSync(sources).find((file) => /^linux-source-.*\.tar\.\w+$/.test(file))
        if (archive === undefined) throw new SetupError(`${packages.join(' ')} brings no archive of sources`)
        const archivePath = join(sources, archive)
        await runCommand('tar', ['--extract', '--file', archivePath, '--strip-components=1', '-C', dir])
        rmSync(unpacked, { recursive: true })
      }),
    ),
  )
}

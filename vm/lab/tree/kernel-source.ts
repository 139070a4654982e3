import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../../host/command.js'
import { showProgress } from '../../host/progress.js'
import { SetupError } from '../../host/setup-error.js'
import { cached } from '../../packages/cache.js'
import { DebianSuite } from '../../packages/debian-suite.js'
import { unpackPackage } from '../../packages/unpack.js'

const SUITE = 'trixie'
const PACKAGE = 'linux-source-6.12'

/** Returns the cached, unpacked tree of Debian's linux-source-6.12. Do not write to it. */
export function fetchKernelSource(): Promise<string> {
  return cached(PACKAGE, (dir) =>
    showProgress(`fetching ${PACKAGE} from Debian ${SUITE}`, () =>
      DebianSuite.use(SUITE, async (suite) => {
        const unpacked = join(dir, 'package')
        mkdirSync(unpacked)
        for (const deb of await suite.download([PACKAGE], 'alone')) await unpackPackage(deb, unpacked)
        const sources = join(unpacked, 'usr/src')
        const archive = readdirSync(sources).find((name) => /^linux-source-.*\.tar\.\w+$/.test(name))
        if (archive === undefined) throw new SetupError(`${PACKAGE} brings no archive of sources`)
        const archivePath = join(sources, archive)
        await runCommand('tar', ['--extract', '--file', archivePath, '--strip-components=1', '-C', dir])
        rmSync(unpacked, { recursive: true })
      }),
    ),
  )
}

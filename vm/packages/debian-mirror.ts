import { existsSync } from 'node:fs'
import { runCommand } from '../host/command.js'
import { SetupError } from '../host/setup-error.js'

const DEBIAN_RELEASES = /^(old)*(stable|testing)$|^(unstable|sid|bullseye|bookworm|trixie|forky|duke)$/
const KEYRINGS = [
  '/usr/share/keyrings/debian-archive-keyring.gpg',
  '/usr/share/keyrings/debian-archive-keyring.pgp',
]
const NETWORK_SETTINGS = /^Acquire::(https?::|Retries |Check-Date |Check-Valid-Until |ForceIPv[46] )/

/** Returns the Debian mirror that this machine's apt uses, in any form of its sources. */
export async function findMirror(): Promise<string> {
  const { VIRTIOFSD_TS_DEBIAN_MIRROR: chosen } = process.env
  if (chosen) return chosen
  const format = '$(REPO_URI) $(RELEASE) $(COMPONENT)'
  const targets = await runCommand('apt-get', [
    'indextargets',
    '--no-release-info',
    '--format',
    format,
    'Created-By: Packages',
  ])
  const mirror = pickMirror(targets.split('\n'))
  if (mirror === undefined) {
    throw new SetupError('apt on this machine has no Debian mirror: name one in VIRTIOFSD_TS_DEBIAN_MIRROR')
  }
  return mirror
}

/**
 * Each line has a repository URI, a release and a component. Other vendors also call their releases `stable main`,
 * hence the last test.
 */
export function pickMirror(targets: string[]): string | undefined {
  const uris = targets
    .map((line) => line.split(' '))
    .filter(([, release, component]) => component === 'main' && DEBIAN_RELEASES.test(release ?? ''))
    .map(([uri]) => uri!)
  return uris.find((uri) => /\/debian\/?$/.test(uri)) ?? uris[0]
}

/** Returns this machine's copy of the keys that sign Debian's releases. */
export function findKeyring(): string {
  const keyring = KEYRINGS.find((path) => existsSync(path))
  if (keyring === undefined) {
    throw new SetupError('no keys to verify Debian with: install the package debian-archive-keyring')
  }
  return keyring
}

/** Returns the lines of this machine's apt configuration for the network: proxies, retries, wrong clocks. */
export async function readNetworkSettings(): Promise<string[]> {
  const dump = await runCommand('apt-config', ['dump'])
  return dump.split('\n').filter((line) => NETWORK_SETTINGS.test(line))
}

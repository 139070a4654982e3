import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../host/command.js'
import { fetchBundle } from '../packages/bundle.js'
import { cached } from '../packages/cache.js'
import { collectedProgram } from '../packages/collected-program.js'
import { type ArchiveEntry, FILE, FOLDER, LINK, PROGRAM, writeArchive } from './cpio.js'
import { compileGuestPrograms } from './guest-programs.js'
import type { Kernel } from './kernel.js'
import { readModules } from './kernel-modules.js'

/**
 * Packages that a guest can have besides busybox and vm/guest/*.c. Each makes the image larger, so they are optional.
 */
export type GuestProgram = 'e2fsprogs' | 'fio' | 'git'

export interface InitramfsOptions {
  kernel: Kernel
  programs?: GuestProgram[] | undefined
  /** Kernel modules besides those that reach a virtio-fs share. */
  modules?: string[] | undefined
}

const SHARE_MODULES = ['virtio_pci', 'virtiofs']
// Makes the line to the agent fast; without it a serial port serves.
const AGENT_MODULES = ['virtio_console']
const FOLDERS = 'bin dev etc lib lib/modules mnt opt proc root run sbin sys tmp usr usr/bin usr/sbin'.split(
  ' ',
)
const PASSWD = 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/tmp:/bin/sh\n'
const GROUP = 'root:x:0:\nuser:x:1000:\n'

/** Returns the path of an image for this kernel. Writes the image only if something in it changed. */
export async function buildInitramfs({
  kernel,
  programs = [],
  modules = [],
}: InitramfsOptions): Promise<string> {
  const archive = writeArchive([
    ...FOLDERS.map(folder),
    file('etc/passwd', PASSWD),
    file('etc/group', GROUP),
    link('init', 'sbin/init'),
    ...(await busybox()),
    ...(await guestPrograms()),
    ...(await Promise.all(programs.map(bundledProgram))).flat(),
    ...kernelModules(kernel, [...SHARE_MODULES, ...modules]),
  ])
  const hash = createHash('sha256').update(archive).digest('hex').slice(0, 16)
  const dir = await cached(`initramfs-${hash}`, async (dir) =>
    writeFileSync(join(dir, 'initramfs.cpio'), archive),
  )
  return join(dir, 'initramfs.cpio')
}

async function busybox(): Promise<ArchiveEntry[]> {
  const path = join(await fetchBundle('busybox'), 'files/busybox')
  const applets = (await runCommand(path, ['--list']))
    .split('\n')
    .filter((name) => name !== 'busybox' && name !== 'init')
  return [
    program('bin/busybox', readFileSync(path)),
    ...applets.map((applet) => link(`bin/${applet}`, '/bin/busybox')),
  ]
}

async function guestPrograms(): Promise<ArchiveEntry[]> {
  const dir = await compileGuestPrograms()
  return readdirSync(dir).map((name) => {
    const place = name === 'init' || name === 'agent' ? 'sbin' : 'usr/bin'
    return program(`${place}/${name}`, readFileSync(join(dir, name)))
  })
}

/** Returns entries for the bundle with its own libraries under /opt, and a starting script for each program. */
async function bundledProgram(name: GuestProgram): Promise<ArchiveEntry[]> {
  const bundle = await fetchBundle(name)
  const home = `opt/${name}`
  const parts = ['bin', 'lib'].flatMap((part) => [
    folder(`${home}/${part}`),
    ...readdirSync(join(bundle, part)).map((entry) =>
      program(`${home}/${part}/${entry}`, readFileSync(join(bundle, part, entry))),
    ),
  ])
  const starts = readdirSync(join(bundle, 'bin')).map((binary) => {
    const { command, args } = collectedProgram(`/${home}`, binary)
    const script = `#!/bin/sh\nexec ${[command, ...args].join(' ')} "$@"\n`
    return program(`usr/bin/${binary}`, Buffer.from(script))
  })
  return [folder(home), ...parts, ...starts]
}

/**
 * Returns the modules, and the ordered list by which init loads them. A kernel without modules has all it needs built
 * in.
 */
function kernelModules({ modulesDir }: Kernel, wanted: string[]): ArchiveEntry[] {
  if (modulesDir === undefined) return []
  const modules = readModules(modulesDir, wanted, AGENT_MODULES).map(({ name, data }) =>
    file(`lib/modules/${name}.ko`, data),
  )
  return [...modules, file('etc/modules', modules.map(({ path }) => `/${path}\n`).join(''))]
}

function folder(path: string): ArchiveEntry {
  return { path, mode: FOLDER }
}

function file(path: string, data: string | Buffer): ArchiveEntry {
  return { path, mode: FILE, data: Buffer.from(data) }
}

function program(path: string, data: Buffer): ArchiveEntry {
  return { path, mode: PROGRAM, data }
}

function link(path: string, target: string): ArchiveEntry {
  return { path, mode: LINK, data: Buffer.from(target) }
}

import { execa } from 'execa'

const NOT_NEEDED = ['./usr/share/doc', './usr/share/man', './usr/share/locale', './usr/share/lintian']

/** Unpacks a .deb file into a folder. Needs no root, since owners are dropped. */
export async function unpackPackage(file: string, dir: string): Promise<void> {
  const excludes = NOT_NEEDED.map((path) => `--exclude=${path}`)
  await execa('dpkg-deb', ['--fsys-tarfile', file], { buffer: false }).pipe(
    'tar',
    ['--extract', '--no-same-owner', '--keep-directory-symlink', ...excludes, '--directory', dir],
    { buffer: false },
  )
}

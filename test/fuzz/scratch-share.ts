import { strict as assert } from 'node:assert'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { getegid, geteuid } from 'node:process'
import * as native from 'virtiofsd-ts-native'
import { ok } from '../support/device/descriptors.js'

const SECRET = 'nobody who serves the share may see or change this'
const S_IFIFO = 0o10000
/** The longest file whose offsets are all safe integers. */
const HUGE_BYTES = Number.MAX_SAFE_INTEGER

/** A directory that is shared, and one beside it that no request may reach. */
export class ScratchShare {
  readonly root: string
  private readonly outside: string
  private readonly secret: string
  private readonly before: string

  constructor(private readonly directory: string) {
    this.root = join(directory, 'share')
    this.outside = join(directory, 'outside')
    this.secret = join(this.outside, 'secret')
    mkdirSync(this.root)
    mkdirSync(this.outside)
    writeFileSync(this.secret, SECRET)
    this.before = this.look()
  }

  /** Restores the share to its state at the beginning of each input. */
  fill(): void {
    const { root } = this
    chownSync(root, geteuid?.() ?? 0, getegid?.() ?? 0)
    chmodSync(root, 0o755)
    for (const name of readdirSync(root)) rmSync(join(root, name), { recursive: true, force: true })
    writeFileSync(join(root, 'file'), 'x'.repeat(5000))
    mkdirSync(join(root, 'dir'))
    writeFileSync(join(root, 'dir', 'deep'), 'deep')
    symlinkSync('../outside', join(root, 'out'))
    symlinkSync(this.secret, join(root, 'link'))
    writeFileSync(join(root, 'huge'), '')
    truncateSync(join(root, 'huge'), HUGE_BYTES)
    ok(native.mknodat(native.constants.AT_FDCWD, Buffer.from(`${root}/fifo\0`), 0, S_IFIFO | 0o600, 0))
  }

  /** The inode numbers of what lies outside. */
  inodesOutside(): readonly bigint[] {
    return [this.directory, this.outside, this.secret].map((path) => lstatSync(path, { bigint: true }).ino)
  }

  /** Checks that nothing outside was changed. */
  check(): void {
    assert.deepEqual(readdirSync(this.directory).sort(), ['outside', 'share'])
    assert.equal(this.look(), this.before, 'what lies outside the share has changed')
  }

  private look(): string {
    const of = (path: string) => {
      const { ino, mode, uid, gid, size, mtimeMs, ctimeMs, nlink } = lstatSync(path)
      return [ino, mode, uid, gid, size, mtimeMs, ctimeMs, nlink].join(' ')
    }
    return [readFileSync(this.secret, 'utf8'), of(this.secret), of(this.outside)].join('\n')
  }
}

/** A quota as a guest sees it: in df, in writes, in write-back, and at once after a restart. */
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DeviceProcess } from '../../vm/device/device-process.js'
import { bootGuest, type Guest } from '../../vm/guest/guest.js'
import { expectQuietKernel, newerPairs } from '../support/host/real-guest.js'

const KIB = 1024
const QUOTA_KIB = 8 * KIB
const QUOTA_INODES = 20
/** Only what is lost comes later. */
const FORGET_MS = 20_000
const PIECE_KIB = 64
/** Twice the quota, and in the guest's memory at once. */
const TOO_MUCH = 2 * QUOTA_KIB * KIB
const O_RDWR_CREAT = 0o102

/** The shares, by their tags, with their options. */
const shares = {
  plain: '',
  back: ',cache=always,writeback',
  mapped: ',cache=never,allow-mmap',
} as const
type Tag = keyof typeof shares
const tags = Object.keys(shares) as Tag[]

t.setTimeout(600_000)

/** Shares under a quota, HOME/TAG on the host and /TAG in the guest, with a device for all of them. */
class Bed {
  private constructor(
    private readonly home: string,
    readonly guest: Guest,
    private readonly device: DeviceProcess,
  ) {}

  static async start(t: Test, home: string, kernel: string, qemu: string): Promise<Bed> {
    const socketOf = (tag: Tag) => join(home, `${tag}.sock`)
    const words = tags.flatMap((tag) => {
      mkdirSync(join(home, tag), { recursive: true })
      return ['--share', `tag=${tag},path=${join(home, tag)},socket=${socketOf(tag)}${shares[tag]}`]
    })
    const quota = ['--quota-bytes', `${QUOTA_KIB}K`, '--quota-inodes', `${QUOTA_INODES}`]
    const device = await DeviceProcess.startOurs(
      [...words, ...quota],
      [socketOf('plain'), ...tags.map(socketOf)],
    )
    t.teardown(() => device.stop())
    const guest = await bootGuest({
      kernel,
      qemu,
      shares: tags.map((tag) => ({ tag, socketPath: socketOf(tag) })),
    })
    t.teardown(() => guest.kill())
    t.comment(`Linux ${guest.kernelRelease}`)
    for (const tag of tags) await guest.mount(tag, `/${tag}`)
    return new Bed(home, guest, device)
  }

  async end(t: Test): Promise<void> {
    await expectQuietKernel(t, this.guest)
    await this.guest.kill()
    t.match(await this.device.stop(), { status: 0 })
  }

  /** Carries out operations of io-actor in one process of the guest. Returns the answers. */
  async act(...operations: readonly string[]): Promise<readonly unknown[]> {
    const { stdout } = await this.guest.run('io-actor', { stdin: `${operations.join('\n')}\n` })
    const lines = stdout.toString().trim().split('\n')
    return lines.map((line): unknown => JSON.parse(line))
  }

  /** Runs a command in the guest that may fail. Returns its error output, "" if it did not fail. */
  async complaint(command: string): Promise<string> {
    const { status, stderr } = await this.guest.run(command)
    return status === 0 ? '' : stderr.toString()
  }

  /** What df prints of a share: its size, what is used, and what is left. */
  async df(tag: Tag, option: '-k' | '-i'): Promise<{ size: number; used: number; left: number }> {
    const lines = (await this.guest.output(`df ${option} /${tag}`)).trim().split('\n')
    const [, size, used, left] = (lines.at(-1) ?? '').split(/ +/).map(Number)
    if (size === undefined || used === undefined || left === undefined) throw new Error(lines.join('\n'))
    return { size, used, left }
  }

  /** The inodes that are left, as soon as they are `expected`: the guest's FORGETs may come behind the command that removed them. */
  async leftInodes(tag: Tag, expected: number): Promise<number> {
    const endMs = performance.now() + FORGET_MS
    for (;;) {
      const { left } = await this.df(tag, '-i')
      if (left === expected || performance.now() > endMs) return left
    }
  }

  /** What a share occupies on the host. */
  usedKib(tag: Tag): number {
    const directory = join(this.home, tag)
    const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    const blocks = ['', ...names].reduce((sum, name) => sum + lstatSync(join(directory, name)).blocks, 0)
    return blocks / 2
  }
}

const dd = (file: string, pieces: number, more = '') =>
  `dd if=/dev/zero of=${file} bs=${PIECE_KIB}k count=${pieces} ${more}`

async function showSize(t: Test, bed: Bed): Promise<void> {
  const bytes = await bed.df('plain', '-k')
  t.match(bytes, { size: QUOTA_KIB, used: bed.usedKib('plain') })
  t.equal(bytes.left, bytes.size - bytes.used)
  t.same(await bed.df('plain', '-i'), { size: QUOTA_INODES, used: 1, left: QUOTA_INODES - 1 }, 'the root')
}

async function refuseBytes(t: Test, bed: Bed): Promise<void> {
  t.match(await bed.complaint(dd('/plain/file', 1000)), /quota/i)
  const used = bed.usedKib('plain')
  t.ok(used <= QUOTA_KIB && used > QUOTA_KIB - 4 * PIECE_KIB, `${used} KiB are used`)
  t.equal((await bed.df('plain', '-k')).used, used, 'df agrees with the host')
  t.equal(await bed.complaint(dd('/plain/file', 1, 'conv=notrunc')), '', 'data can be written over')
  await bed.guest.output('rm /plain/file')
  t.equal(await bed.complaint(dd('/plain/other', 32)), '', 'room comes back with the file')
  await bed.guest.output('rm /plain/other')
}

async function refuseInodes(t: Test, bed: Bed): Promise<void> {
  const made = await bed.guest.output(
    'cd /plain; for n in $(seq 40); do mkdir d$n 2>/dev/null && echo $n; done | wc -l',
  )
  t.equal(Number(made), QUOTA_INODES - 1)
  for (const make of ['mkdir', 'touch', 'mkfifo', 'ln -s x'])
    t.match(await bed.complaint(`${make} /plain/new`), /quota/i, make)
  t.equal((await bed.df('plain', '-i')).left, 0)
  await bed.guest.output('mv /plain/d1 /plain/d2 && rmdir /plain/d3 && touch /plain/new && rm -r /plain/*')
  t.equal(await bed.leftInodes('plain', QUOTA_INODES - 1), QUOTA_INODES - 1)
}

/**
 * The write itself succeeds: the data is in the guest's memory. Of an error of earlier write-back, Linux keeps for close(2)
 * only if it was ENOSPC; fsync(2) gets the very errno.
 */
async function refuseWriteBack(t: Test, bed: Bed): Promise<void> {
  const answers = await bed.act(
    `open f ${O_RDWR_CREAT} /back/file`,
    `write f ${TOO_MUCH} 0 65`,
    'fsync f',
    `write f ${TOO_MUCH} ${TOO_MUCH} 65`,
    'close f',
  )
  t.same(answers, [
    { value: 0 },
    { value: TOO_MUCH },
    { error: 'EDQUOT' },
    { value: TOO_MUCH },
    { error: 'EIO' },
  ])
  const used = bed.usedKib('back')
  t.ok(used <= QUOTA_KIB && used > QUOTA_KIB / 2, `${used} KiB are used`)
  await bed.guest.output('rm /back/file')
  const small = await bed.act(`open f ${O_RDWR_CREAT} /back/small`, `write f ${KIB * KIB} 0 65`, 'fsync f')
  t.same(small.at(-1), { value: 0 }, 'later data is written')
}

async function refuseMappedPages(t: Test, bed: Bed): Promise<void> {
  const answers = await bed.act(
    `open f ${O_RDWR_CREAT} /mapped/file`,
    `truncate f ${TOO_MUCH}`,
    `map m f ${TOO_MUCH} shared rw`,
    `poke m ${TOO_MUCH} 0 65`,
    'msync m',
  )
  t.same(answers.slice(1), [{ value: 0 }, { value: 0 }, { value: 0 }, { error: 'EDQUOT' }])
  t.ok(bed.usedKib('mapped') <= QUOTA_KIB, `${bed.usedKib('mapped')} KiB are used`)
}

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel} on QEMU ${qemu}`, async (t) => {
    const home = mkdtempSync(join(tmpdir(), 'quotas-'))
    t.teardown(() => rmSync(home, { recursive: true, force: true }))
    const bed = await Bed.start(t, home, kernel, qemu)
    await t.test('df shows the quota', (t) => showSize(t, bed))
    await t.test('a write beyond it gets EDQUOT', (t) => refuseBytes(t, bed))
    await t.test('so does what needs an inode', (t) => refuseInodes(t, bed))
    await t.test('written back: fsync and close say so', (t) => refuseWriteBack(t, bed))
    await t.test('through a shared mapping: msync says so', (t) => refuseMappedPages(t, bed))
    await bed.guest.run(dd('/plain/full', 1000))
    const before = await bed.df('plain', '-k')
    await bed.end(t)

    const again = await Bed.start(t, home, kernel, qemu)
    await t.test('a restart forgives nothing', async (t) => {
      t.same(await again.df('plain', '-k'), before)
      t.same(await again.df('plain', '-i'), { size: QUOTA_INODES, used: 2, left: QUOTA_INODES - 2 })
      t.match(await again.complaint(dd('/plain/more', 4)), /quota/i)
      t.ok(again.usedKib('plain') <= QUOTA_KIB, `${again.usedKib('plain')} KiB are used`)
      await again.guest.output('rm /plain/*')
      t.equal(await again.complaint(dd('/plain/more', 32)), '')
    })
    await again.end(t)
  })
}

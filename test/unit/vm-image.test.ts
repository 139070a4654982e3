import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { FILE, FOLDER, LINK, writeArchive } from '../../vm/guest/cpio.js'
import { findKernel, newestPackage } from '../../vm/guest/kernel.js'
import { loudMessages, parseKernelLog } from '../../vm/guest/kernel-log.js'
import { readModules } from '../../vm/guest/kernel-modules.js'

t.test('a cpio archive has the golden bytes of newc', async (t) => {
  const archive = writeArchive([{ path: 'a', mode: FILE, data: Buffer.from('hello') }])
  const fileHeader =
    '070701' + '00000001' + '000081a4' + '00000000' + '00000000' + '00000001' + '00000000' + '00000005'
  const device = '00000000'.repeat(4)
  t.equal(archive.toString('latin1', 0, 112), `${fileHeader}${device}0000000200000000a\0`)
  t.equal(archive.toString('latin1', 112, 120), 'hello\0\0\0', 'data ends at a multiple of four')
  t.equal(archive.toString('latin1', 120 + 110, 120 + 121), 'TRAILER!!!\0')
  t.equal(archive.length % 4, 0)
})

t.test('a cpio archive holds folders and links', async (t) => {
  const archive = writeArchive([
    { path: 'bin', mode: FOLDER },
    { path: 'bin/sh', mode: LINK, data: Buffer.from('busybox') },
  ]).toString('latin1')
  t.match(archive, /^07070100000001000041ed/)
  t.match(archive, /070701000000020000a1ff/)
  t.match(archive, /bin\/sh\0+busybox/)
})

/** A folder like /lib/modules/RELEASE, with files that hold just what marks a dependency. */
function makeModules(t: Test, modules: Record<string, string>): string {
  const dir = t.testdir({ 'modules.builtin': 'kernel/fs/fuse/fuse.ko\n' })
  for (const [path, depends] of Object.entries(modules)) {
    const file = join(dir, 'kernel', path)
    const bytes = Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0name=x\0`)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, path.endsWith('.gz') ? gzipSync(bytes) : bytes)
  }
  return dir
}

t.test('modules come after those that they depend on, once, and without built-in ones', async (t) => {
  const dir = makeModules(t, {
    'fs/fuse/virtiofs.ko': 'virtio,fuse',
    'drivers/virtio/virtio_pci.ko.gz': 'virtio,virtio-ring',
    'drivers/virtio/virtio.ko': 'virtio_ring',
    'drivers/virtio/virtio_ring.ko': '',
  })
  const names = (wanted: string[], optional: string[] = []): string[] =>
    readModules(dir, wanted, optional).map(({ name }) => name)
  t.same(names(['virtiofs', 'virtio_pci']), ['virtio_ring', 'virtio', 'virtiofs', 'virtio_pci'])
  t.same(names([], ['virtio_console', 'virtio_ring']), ['virtio_ring'], 'an optional one may be missing')
  t.throws(() => names(['virtio_blk']), { name: 'SetupError', message: /no module virtio_blk/ })
})

t.test('of several kernels of a release, the newest is taken', async (t) => {
  const names = ['7.1.8', '7.1.13', '7.10.2', '6.18.15'].flatMap((release) => [
    `linux-image-${release}+deb13-cloud-amd64`,
    `linux-image-${release}+deb13-cloud-amd64-dbg`,
    `linux-image-${release}+deb13-amd64`,
  ])
  t.equal(newestPackage(names, '7.1'), 'linux-image-7.1.13+deb13-cloud-amd64')
  t.equal(newestPackage(names, '7.1.8'), 'linux-image-7.1.8+deb13-cloud-amd64')
  const parts = ['image', 'binary', 'modules'].map((part) => `linux-${part}-7.1.20+deb13-cloud-amd64`)
  t.equal(newestPackage([...names, ...parts], '7.1'), parts[0])
  t.match(newestPackage([...names, ...parts.slice(0, 2)], '7.1'), '7.1.13', 'one without modules')
  t.throws(() => newestPackage(names, '7.2'), {
    name: 'SetupError',
    message: 'Debian trixie-backports has no Linux 7.2; it has 6.18.15, 7.1.8, 7.1.13, 7.10.2',
  })
})

t.test("a user's kernel is found, or refused with a hint", async (t) => {
  const dir = t.testdir({ bzImage: '', modules: { 'modules.builtin': '' }, empty: {} })
  const image = join(dir, 'bzImage')
  t.same(await findKernel(image), { image })
  t.same(await findKernel(image, join(dir, 'modules')), { image, modulesDir: join(dir, 'modules') })
  await t.rejects(findKernel('nope'), { name: 'SetupError', message: /6\.1, 6\.12, 7/ })
  await t.rejects(findKernel(image, join(dir, 'empty')), { name: 'SetupError', message: /modules\.builtin/ })
})

t.test('the kernel log is parsed with levels, times and continued lines', async (t) => {
  const log = parseKernelLog(
    '<6>[    0.000000] Linux version 6.12\n<12>[   12.345678] a warning\nof two lines\n',
  )
  t.same(log, [
    { level: 6, seconds: 0, text: 'Linux version 6.12' },
    { level: 4, seconds: 12.345678, text: 'a warning\nof two lines' },
  ])
})

t.test('a kernel log without times, or with thread ids, is parsed too', async (t) => {
  // CONFIG_PRINTK_TIME is off in tinyconfig; CONFIG_PRINTK_CALLER is on in kernels for debugging.
  const log = parseKernelLog(
    '<6>Linux version 6.12\n<4>WARNING: at fs/fuse\n<4>[    1.5][   T71] Call Trace:\n',
  )
  t.same(log, [
    { level: 6, seconds: undefined, text: 'Linux version 6.12' },
    { level: 4, seconds: undefined, text: 'WARNING: at fs/fuse' },
    { level: 4, seconds: 1.5, text: 'Call Trace:' },
  ])
  t.same(loudMessages(log), ['WARNING: at fs/fuse', 'Call Trace:'])
})

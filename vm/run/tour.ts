import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Guest } from '../guest/guest.js'
import { makeTemporaryDir } from '../host/temporary-dir.js'

const THROUGHPUT_MIB = 64
const MIB = 1024 * 1024
const LABEL_WIDTH = 16

/**
 * Shows in a few lines what a share does. `hostDir` is on `guestDir` in the guest.
 * Works in a new folder inside, which goes afterwards. Throws when the two sides differ.
 */
export async function takeTour(guest: Guest, hostDir: string, guestDir: string): Promise<void> {
  const { path: host, remove } = makeTemporaryDir(hostDir)
  const mnt = join(guestDir, basename(host))
  try {
    section('One folder, two sides')
    await writeOnHost(guest, host, mnt)
    await writeInGuest(guest, host, mnt)
    await writeThroughMapping(guest, host, mnt)
    section(`Throughput, ${THROUGHPUT_MIB} MiB in blocks of 1 MiB`)
    await measureThroughput(guest, host, mnt)
  } finally {
    remove()
  }
}

export function section(title: string): void {
  process.stdout.write(`\n${title}\n`)
}

export function item(label: string, text: string): void {
  process.stdout.write(`  ${label.padEnd(LABEL_WIDTH)}${text}\n`)
}

async function writeOnHost(guest: Guest, host: string, mnt: string): Promise<void> {
  const text = 'written on the host'
  writeFileSync(join(host, 'from-host.txt'), text)
  expectSame('from-host.txt', await guest.output(`cat '${mnt}/from-host.txt'`), text)
  item('from-host.txt', `the guest reads "${text}"`)
}

async function writeInGuest(guest: Guest, host: string, mnt: string): Promise<void> {
  const text = 'written in the guest'
  await guest.output(`printf %s '${text}' > '${mnt}/from-guest.txt'`)
  expectSame('from-guest.txt', readFileSync(join(host, 'from-guest.txt'), 'utf8'), text)
  item('from-guest.txt', `the host reads "${text}"`)
}

async function writeThroughMapping(guest: Guest, host: string, mnt: string): Promise<void> {
  const text = 'written through a mapping'
  const { status, stderr } = await guest.run(`mmap-write '${mnt}/mapped.txt' '${text}'`)
  if (status !== 0) {
    item('mapped.txt', `no shared mapping: ${stderr.toString().trim()}`)
    item('', 'with --cache never a share needs --allow-mmap for that, and a guest of Linux 6.6 or later')
    return
  }
  expectSame('mapped.txt', readFileSync(join(host, 'mapped.txt'), 'utf8'), text)
  item('mapped.txt', `mmap(MAP_SHARED) in the guest; the host reads "${text}"`)
}

async function measureThroughput(guest: Guest, host: string, mnt: string): Promise<void> {
  const file = `${mnt}/throughput`
  await guest.output(`dd if=/dev/urandom of=/tmp/random bs=1M count=${THROUGHPUT_MIB} 2>/dev/null`)
  const write = await guest.run(`dd if=/tmp/random of='${file}' bs=1M conv=fsync`)
  await guest.output('echo 3 > /proc/sys/vm/drop_caches')
  const read = await guest.run(`dd if='${file}' of=/dev/null bs=1M`)
  const guestSum = (await guest.output('sha256sum /tmp/random')).split(' ')[0]!
  const hostSum = createHash('sha256')
    .update(readFileSync(join(host, 'throughput')))
    .digest('hex')
  expectSame('the sum of throughput', hostSum, guestSum)
  item('write + fsync', rate(write.ms))
  item('read', rate(read.ms))
  item('sha256', 'the same on both sides')
}

function rate(ms: number): string {
  const mbPerSecond = (THROUGHPUT_MIB * MIB) / 1e6 / (ms / 1e3)
  return `${mbPerSecond.toFixed(0).padStart(5)} MB/s`
}

function expectSame(what: string, found: string, expected: string): void {
  if (found !== expected) throw new Error(`${what}: expected "${expected}", found "${found}"`)
}

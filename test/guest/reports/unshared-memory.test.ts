/**
 * Memory that was plugged into a guest without share=on is not shared with the device: it cannot reach the data of a
 * request there. The request fails. A guest before Linux 7.1 would take a reply that is not written for success: files
 * of zeros, empty listings.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bootWith, hashOf, newerPairs, serve } from '../../support/host/real-guest.js'
import { pattern } from '../../support/pattern.js'

const MIB = 1 << 20
const FILE_MIB = 8
const PLUG_MIB = 1024
const FILES = 24

t.setTimeout(900_000)

for (const { kernel, qemu } of newerPairs) {
  t.test(`Linux ${kernel}: what lies in unshared memory fails, and is never zeros`, async (t) => {
    const shares = [await serve(t, 'never', ['--cache', 'never']), await serve(t, 'auto')]
    const sums = new Map<string, string>()
    for (const { path } of shares) {
      for (let n = 0; n < FILES; n++) {
        writeFileSync(join(path, `file-${n}`), pattern(FILE_MIB * MIB, n + 1))
        sums.set(`file-${n}`, hashOf(join(path, `file-${n}`)))
      }
    }
    const guest = await bootWith(t, shares, {
      kernel,
      qemu,
      memoryMiB: 320,
      maxMemoryMiB: 4096,
      // Only pages of programs and files use this memory: the requests themselves can be read.
      kernelArgs: ['memhp_default_state=online_movable'],
    })
    const size = PLUG_MIB * MIB
    await guest.qmp.execute('object-add', { 'qom-type': 'memory-backend-ram', id: 'private', size })
    await guest.qmp.execute('device_add', { driver: 'pc-dimm', id: 'dimm', memdev: 'private' })
    await guest.output(
      `n=0; while [ $(awk '/MemTotal/ {print $2}' /proc/meminfo) -lt ${PLUG_MIB * 1024} ]; do sleep 0.2; n=$((n+1)); [ $n -lt 100 ]; done`,
    )
    for (const { tag, path, device } of shares) {
      const lines = (
        await guest.output(
          `cd /${tag}; for n in $(seq 0 ${FILES - 1}); do
             if sum=$(sha256sum < file-$n 2>/dev/null); then echo file-$n \${sum%% *}; else echo file-$n failed; fi; done`,
          { timeoutMs: 300_000 },
        )
      )
        .trim()
        .split('\n')
        .map((line) => line.split(' '))
      t.equal(lines.length, FILES)
      for (const [name = '', sum] of lines)
        if (sum !== 'failed') t.equal(sum, sums.get(name), `${tag}: ${name}`)
      // A listing is also read into such memory.
      const listing = await guest.run(`ls /${tag} | wc -l; ls /${tag} > /dev/null`)
      if (listing.status === 0) t.equal(Number(listing.stdout), FILES, `${tag}: a listing`)
      const written = await guest.run(
        `head -c ${FILE_MIB * MIB} /dev/urandom > /tmp/new && cp /tmp/new /${tag}/new && sync && sha256sum < /tmp/new`,
      )
      if (written.status === 0)
        t.equal(written.stdout.toString().split(' ')[0], hashOf(join(path, 'new')), `${tag}: a file written`)
      const failed = lines.filter(([, sum]) => sum === 'failed').length
      t.comment(`${tag}: ${failed} of ${FILES} files could not be read`)
      t.ok(failed > 0, 'some of the memory was used')
      t.match(
        device.log.join('\n'),
        /address outside guest memory.*share=on|share=on.*address outside guest memory/,
      )
    }
  })
}

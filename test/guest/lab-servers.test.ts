/** The lab on servers other than our device, and the script that an unexpected cell leaves. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execa } from 'execa'
import t from 'tap'
import type { Cell, LabResult } from '../../vm/lab/result.js'
import { tempDir } from '../support/host/temp-dir.js'

const LAB = fileURLToPath(new URL('../../vm/lab.js', import.meta.url))

t.setTimeout(900_000)

async function runLab(...args: string[]) {
  const { exitCode, stdout, stderr } = await execa(process.execPath, [LAB, ...args], { reject: false })
  return { status: exitCode, stdout, stderr }
}

function cellsIn(json: string): Cell[] {
  const { kernels } = JSON.parse(readFileSync(json, 'utf8')) as LabResult
  return kernels.flatMap(({ cells }) => [...cells])
}

t.test('a server on /dev/fuse, which can do what no virtio-fs device can', async (t) => {
  const json = join(tempDir(t), 'lab.json')
  const cases =
    '{overlap/append,mmap/read-dirty,cache/time-of-access,requests/maker,transition/{cached,writing,passthrough},passthrough/*,driver/*}'
  const { status, stdout, stderr } = await runLab(
    ...['--kernels', '7', '--device', 'dev-fuse', '--cases', cases, '--json', json],
  )
  t.equal(status, 0, `${stdout}\n${stderr}`)
  t.match(stdout, /^Opens that meet, on passthrough, 7\.\S+ dev-fuse:$/m)
  t.match(stdout, /^cached +allowed +allowed +allowed +allowed +EIO +EIO$/m)
  t.match(stdout, /^writing +waits +allowed +allowed +waits +allowed +allowed$/m)
  t.match(stdout, /^passthrough +EIO +EIO +EIO +ENODEV +allowed +allowed$/m)
  const drivers = cellsIn(json).filter(({ case: name }) => name.startsWith('driver/'))
  t.ok(
    drivers.length > 0 && drivers.every(({ needs }) => needs === 'our device'),
    'there is no driver to test',
  )
  const append = cellsIn(json).find(({ case: name }) => name === 'overlap/append')
  t.match(append, { observed: '1', verdict: 'as expected' })
  t.equal(append!.requests.filter(({ opcode }) => opcode === 'WRITE').length, 8, 'with its requests')
  t.ok(
    append!.requests.every(({ guestFromMs, guestToMs }) => guestFromMs! <= guestToMs!),
    'each with its events of the guest',
  )
})

t.test('on the Rust virtiofsd, cells that need our device are not failures', async (t) => {
  const json = join(tempDir(t), 'lab.json')
  const { status, stdout } = await runLab(
    ...[
      '--kernels',
      '6.12',
      '--device',
      'virtiofsd',
      '--cases',
      '{overlap/append,data/hole}',
      '--json',
      json,
    ],
  )
  t.equal(status, 0, stdout)
  t.match(stdout, /^ {2}parallel, parallel\+mmap +\(needs our device\)$/m)
  const holes = cellsIn(json).filter(({ case: name }) => name === 'data/hole')
  t.ok(holes.length > 0)
  t.ok(holes.every(({ observed, verdict }) => observed === 'zeros' && verdict === 'as expected'))
})

t.test('repro.sh runs an unexpected cell again, as it stands', async (t) => {
  const folder = tempDir(t)
  const { status } = await runLab(
    ...['--kernels', '6.12', '--cases', 'io-mode/mapped', '--judge-as', '7.39', '--repro', folder],
  )
  t.equal(status, 1)
  const [script] = (await execa('find', [folder, '-name', 'repro.sh'])).stdout.split('\n')
  t.match(script, /\/6\.12\.\d+\/io-mode-mapped@parallel\+mmap\/repro\.sh$/)
  const text = readFileSync(script!, 'utf8')
  t.match(text, /^# {3}\S*qemu.* -kernel /m)
  t.match(text, /^# {3}\S*node .*--config /m)
  t.match(text, /^# {3}io-actor 2: map m f 32768 shared rw$/m)
  const again = await execa(script!, [], { cwd: '/', reject: false })
  t.equal(again.exitCode, 1)
  t.match(again.stdout, 'UNEXPECTED: io-mode/mapped on parallel+mmap, Linux 6.12')
})

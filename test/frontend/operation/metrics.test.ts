/** --metrics: the figures, and hostile clients. */
import { existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isRoot } from '../../support/device/cases.js'
import { ControlClient, startControlled } from '../../support/device/control-client.js'
import { Device, sleep } from '../../support/device/device.js'
import { runProgram } from '../../support/device/program.js'
import { freePort } from '../../support/free-port.js'
import { Op, ROOT_ID } from '../../support/fuse/fuse-abi.js'
import { mount } from '../../support/fuse/mount.js'
import { tempDir } from '../../support/host/temp-dir.js'

const O_RDWR = 2
const OPENMETRICS = 'application/openmetrics-text; version=1.0.0'
const MAX_CLIENTS = 16
const TIMEOUT_MS = 20_000

interface Answer {
  readonly status: number | undefined
  readonly type: string | undefined
  readonly text: string
}

function ask(socketPath: string, path = '/metrics', method = 'GET', accept = '*/*'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    get({ socketPath, path, method, headers: { Accept: accept }, timeout: TIMEOUT_MS }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (more: string) => {
        text += more
      })
      response.on('error', reject)
      response.on('end', () =>
        resolve({ status: response.statusCode, type: response.headers['content-type'], text }),
      )
    }).on('error', reject)
  })
}

async function scrape(socketPath: string): Promise<string> {
  const { status, text } = await ask(socketPath)
  if (status !== 200) throw new Error(`status ${status}: ${text}`)
  return text
}

/** The value of a line that begins with `name` and has these labels. */
function sampleOf(text: string, name: string, ...labels: readonly string[]): number | undefined {
  const line = text
    .split('\n')
    .find((one) => one.startsWith(`${name}{`) && labels.every((label) => one.includes(label)))
  return line === undefined ? undefined : Number(line.split(' ').at(-1))
}

t.test(
  'what a guest leaves unread when it goes is counted, and the time until the next guest is not',
  async (t) => {
    const path = join(tempDir(t), 'metrics')
    const device = await Device.start(t, ['--keep-alive', '--metrics', `unix:${path}`])
    const request = {
      opcode: Op.GETATTR,
      nodeid: ROOT_ID,
      args: new Uint8Array(16),
      reply: { argBytes: 104 },
    }
    for (let round = 0; round < 10; round++) {
      const fs = mount(t, device)
      for (let n = 0; n < 20; n++) fs.start(request)
      fs.close()
      let text = await scrape(path)
      while (sampleOf(text, 'virtiofsd_ts_front_end_connected') === 1) text = await scrape(path)
      await sleep(100)
      const counts = ['requests_total', 'request_duration_seconds_count'].map(
        (name) => sampleOf(text, `virtiofsd_ts_${name}`, 'opcode="GETATTR"') ?? 0,
      )
      t.equal(counts[0], counts[1], `${counts[0]} requests`)
    }
    const seconds = sampleOf(await scrape(path), 'virtiofsd_ts_request_duration_seconds_sum', 'GETATTR') ?? 0
    t.ok(seconds < 0.1 * 20, `${seconds} s in all`)
  },
)

t.test('metrics have counts, bytes, latencies, and what the guest holds', async (t) => {
  const path = join(tempDir(t), 'metrics')
  const device = await Device.start(t, ['--metrics', `unix:${path}`, '--tag', 'a"b\\c'])
  t.equal(statSync(path).mode & 0o777, 0o600, "its user's alone")
  const idle = await scrape(path)
  t.equal(sampleOf(idle, 'virtiofsd_ts_guest_mounted'), 0)
  t.match(idle, '{share="a\\"b\\\\c"} 0\n')
  const fs = mount(t, device)
  const file = fs.create(ROOT_ID, 'file', O_RDWR)
  fs.write(file.nodeid, file.handle, 0, new Uint8Array(3000))
  t.equal(fs.read(file.nodeid, file.handle, 0, 8192).length, 3000)
  for (let n = 0; n < 5; n++) fs.getattr(ROOT_ID)
  t.throws(() => fs.lookup(ROOT_ID, 'nothing'))
  const text = await scrape(path)
  const expected: readonly (readonly [number, string, ...string[]])[] = [
    [1, 'virtiofsd_ts_front_end_connected'],
    [1, 'virtiofsd_ts_guest_mounted'],
    [0, 'virtiofsd_ts_share_failed'],
    [1, 'virtiofsd_ts_share_answers'],
    [5, 'virtiofsd_ts_requests_total', 'opcode="GETATTR"'],
    [1, 'virtiofsd_ts_request_errors_total', 'opcode="LOOKUP"'],
    [5, 'virtiofsd_ts_request_duration_seconds_count', 'opcode="GETATTR"'],
    [5, 'virtiofsd_ts_request_duration_seconds_bucket', 'opcode="GETATTR"', 'le="+Inf"'],
    [1, 'virtiofsd_ts_request_duration_seconds_count', 'opcode="LOOKUP"'],
    [3000, 'virtiofsd_ts_written_bytes_total'],
    [3000, 'virtiofsd_ts_read_bytes_total'],
    [0, 'virtiofsd_ts_copied_bytes_total'],
    [1, 'virtiofsd_ts_open_files'],
    [0, 'virtiofsd_ts_open_directories'],
    [2, 'virtiofsd_ts_inodes'],
    [0, 'virtiofsd_ts_requests_in_flight'],
    [0, 'virtiofsd_ts_requests_queued'],
    [0, 'virtiofsd_ts_faults_applied_total'],
  ]
  for (const [value, name, ...labels] of expected) t.equal(sampleOf(text, name, ...labels), value, name)
  t.ok((sampleOf(text, 'virtiofsd_ts_request_duration_seconds_sum', 'GETATTR') ?? 0) > 0)
  t.ok((sampleOf(text, 'virtiofsd_ts_descriptors') ?? 0) >= 1)
  t.match(text, /^virtiofsd_ts_build_info\{version="\d[^"]*",node="v\d[^"]*"\} 1$/m)
  t.match(text, /^process_resident_memory_bytes \d{7,}$/m)
  t.match(text, /^process_cpu_seconds_total \d/m)
  await device.stop()
  t.notOk(existsSync(path), 'the socket goes with the process')
})

t.test('metrics are served in two formats, at one path, by GET and HEAD', async (t) => {
  const path = join(tempDir(t), 'metrics')
  await Device.start(t, ['--metrics', `unix:${path}`])
  const open = await ask(path, '/metrics', 'GET', `${OPENMETRICS},text/plain;q=0.5`)
  t.match(open, { status: 200, type: /^application\/openmetrics-text; version=1\.0\.0/ })
  t.match(open.text, /^# TYPE virtiofsd_ts_read_bytes counter\nvirtiofsd_ts_read_bytes_total/m)
  t.ok(open.text.endsWith('\n# EOF\n'))
  const plain = await ask(path)
  t.match(plain, { status: 200, type: /^text\/plain; version=0\.0\.4/ })
  t.match(plain.text, /^# TYPE virtiofsd_ts_read_bytes_total counter$/m)
  t.notMatch(plain.text, '# EOF')
  t.match(await ask(path, '/metrics?x=1'), { status: 200 })
  t.match(await ask(path, '/metrics', 'HEAD'), { status: 200, text: '' })
  t.match(await ask(path, '/metrics', 'POST'), { status: 405 })
  t.match(await ask(path, '/'), { status: 404 })
  t.match(await ask(path, '/metrics/../../etc/passwd'), { status: 404 })
})

for (const sandbox of isRoot ? (['namespace', 'chroot'] as const) : (['namespace'] as const))
  t.test(`a confined process serves metrics: --sandbox ${sandbox}`, async (t) => {
    const path = join(tempDir(t), 'metrics')
    const device = await Device.start(t, ['--metrics', `unix:${path}`], { sandbox })
    const fs = mount(t, device)
    for (let n = 0; n < 3; n++) {
      fs.getattr(ROOT_ID)
      const text = await scrape(path)
      t.equal(sampleOf(text, 'virtiofsd_ts_requests_total', 'GETATTR'), n + 1)
      t.match(text, /^process_resident_memory_bytes \d{7,}$/m)
    }
    t.ok(device.alive)
  })

t.test('several shares are served over TCP of 127.0.0.1', async (t) => {
  const place = tempDir(t)
  const share = (tag: string) => {
    mkdirSync(join(place, tag))
    return ['--share', `tag=${tag},path=${join(place, tag)},socket=${place}/${tag}.sock`]
  }
  const port = await freePort()
  await Device.start(t, [...share('one'), ...share('two'), '--keep-alive', '--metrics', `${port}`])
  const one = mount(t, { socketPath: `${place}/one.sock` })
  one.getattr(ROOT_ID)
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  t.equal(sampleOf(text, 'virtiofsd_ts_requests_total', 'share="one"', 'GETATTR'), 1)
  t.equal(sampleOf(text, 'virtiofsd_ts_requests_total', 'share="two"', 'GETATTR'), undefined)
  t.equal(sampleOf(text, 'virtiofsd_ts_guest_mounted', 'share="two"'), 0)
  const taken = runProgram([
    ...['--shared-dir', place, '--socket-path', join(tempDir(t), 's'), '--metrics', `localhost:${port}`],
  ])
  t.match(taken, {
    status: 2,
    stderr: `virtiofsd-ts: --metrics 127.0.0.1:${port}: cannot listen there (EADDRINUSE)`,
  })
})

t.test(
  'a share that ended by an error is reported as failed, until another one takes its place',
  async (t) => {
    const place = tempDir(t)
    const [path, control, socketPath] = [
      join(place, 'metrics'),
      join(place, 'control'),
      join(place, 'own.sock'),
    ]
    const module = join(place, 'bug.mjs')
    writeFileSync(
      module,
      `const bug = () => { throw new Error('a bug of the module') }
    export default () => ({ root: { readdir: () => { setTimeout(bug); return [] } } })`,
    )
    const own = ['--share', `tag=own,file-system=${module},socket=${socketPath}`]
    const args = ['--tag', 'data', ...own, '--keep-alive', '--control-socket', control]
    const device = await Device.start(t, [...args, '--metrics', `unix:${path}`])
    t.equal(sampleOf(await scrape(path), 'virtiofsd_ts_share_failed', 'share="own"'), 0)
    const fs = mount(t, { socketPath })
    const { handle } = fs.opendir(ROOT_ID)
    fs.readdir(ROOT_ID, handle, 0n)
    await device.waitForLog((line) => line.msg === 'the share failed')
    const after = await scrape(path)
    t.equal(sampleOf(after, 'virtiofsd_ts_share_failed', 'share="own"'), 1)
    t.equal(sampleOf(after, 'virtiofsd_ts_share_answers', 'share="own"'), 0)
    t.equal(sampleOf(after, 'virtiofsd_ts_requests_total', 'share="own"', 'READDIR"'), 1, 'counts stay')
    t.equal(sampleOf(after, 'virtiofsd_ts_share_failed', 'share="data"'), 0, 'the other one goes on')
    t.match(runProgram(['top', '--control-socket', control, '--once', '--interval', '0.1']), {
      status: 0,
      stdout: /^own +failed /m,
    })
    const changes = await ControlClient.connect(t, `${control}.live`)
    mkdirSync(join(place, 'directory'))
    await changes.ask('share-add', `tag=own,path=${join(place, 'directory')},socket=${socketPath}`)
    mount(t, { socketPath }).getattr(ROOT_ID)
    const again = await scrape(path)
    t.equal(sampleOf(again, 'virtiofsd_ts_share_failed', 'share="own"'), 0)
    t.equal(sampleOf(again, 'virtiofsd_ts_share_answers', 'share="own"'), 1)
  },
)

t.test('malformed addresses, and sockets that a guest could replace, are refused', async (t) => {
  const directory = tempDir(t)
  const start = (...args: readonly string[]) =>
    runProgram(['--shared-dir', directory, '--socket-path', join(tempDir(t), 's'), ...args])
  const bad: readonly (readonly [string, RegExp])[] = [
    ['x', /--metrics x: not a PORT, HOST:PORT, \[HOST\]:PORT or unix:PATH/],
    ['70000', /not a PORT/],
    ['host.example:1', /'host\.example' is not an address of this host/],
    ['::1:9000', /not a PORT|not an address/],
    ['unix:', /not a PORT/],
    [`unix:/${'x'.repeat(120)}`, /a socket path has at most/],
    [`unix:${directory}/m`, /lies in the shared directory/],
    ['192.0.2.1:9000', /cannot listen there \(EADDRNOTAVAIL\)/],
  ]
  for (const [address, complaint] of bad)
    t.match(start('--metrics', address), { status: 2, stderr: complaint }, address)
  const place = tempDir(t)
  t.match(start('--control-socket', join(place, 'c'), '--metrics', `unix:${place}/c`), {
    status: 2,
    stderr: /the control socket is there already/,
  })
  writeFileSync(join(place, 'file'), '')
  t.match(start('--metrics', `unix:${place}/file`), { status: 2, stderr: /exists and is no socket/ })
})

/** Connects, and counts nothing as an error: the other side may hang up at any time. */
function open(t: Test, options: NetConnectOpts): Socket {
  const socket = connect(options)
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  return socket
}

t.test('slow, endless, numerous and foreign clients are cut off', async (t) => {
  const path = join(tempDir(t), 'metrics')
  const device = await Device.start(t, ['--metrics', `unix:${path}`])
  const fs = mount(t, device)
  const before = device.openFiles().length
  const openings = [
    'GET /metrics HTTP/1.1\r\nHost: x\r\n',
    `GET /metrics HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(20_000)}`,
    `GET /${'x'.repeat(1 << 20)} HTTP/1.1\r\n`,
    'POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\nxxxx',
    'GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n',
    'GET /metrics HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
    'CONNECT example.com:80 HTTP/1.1\r\nHost: x\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1000),
    '',
  ]
  for (const opening of openings)
    for (let n = 0; n < 8; n++) {
      const socket = open(t, { path })
      // Nothing is read, so an answer that does not fit stays unsent.
      socket.pause()
      socket.write(opening)
    }
  await sleep(200)
  fs.getattr(ROOT_ID)
  const text = await scrape(path)
  t.equal(sampleOf(text, 'virtiofsd_ts_requests_total', 'GETATTR'), 1, 'the honest client gets in')
  t.ok(device.openFiles().length <= before + MAX_CLIENTS + 1, 'no more connections than that')
  fs.getattr(ROOT_ID)
  t.ok(device.alive)
})

t.test('a client that sends a byte now and then is cut off', async (t) => {
  const path = join(tempDir(t), 'metrics')
  await Device.start(t, ['--metrics', `unix:${path}`])
  const socket = open(t, { path })
  let closed = false
  socket.on('close', () => {
    closed = true
  })
  socket.resume()
  socket.write('GET /metrics HTTP/1.1\r\n')
  while (!closed) {
    socket.write('a')
    await sleep(50)
  }
  t.match(await scrape(path), /^virtiofsd_ts_share_answers\{.*\} 1$/m, 'others are served')
})

t.test('without metrics, latencies are counted only while reports are asked for', async (t) => {
  const { device, control } = await startControlled(t)
  const fs = mount(t, device)
  fs.getattr(ROOT_ID)
  t.match(await control.ask('report'), [{ name: '0', state: 'answers', latencies: [] }])
  fs.getattr(ROOT_ID)
  t.match(await control.ask('report'), [{ latencies: [{ opcode: 'GETATTR', count: 1 }] }])
})

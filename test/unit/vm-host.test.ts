import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { findAccelerator } from '../../vm/guest/accelerator.js'
import { machineArguments } from '../../vm/guest/qemu.js'
import { runCommand } from '../../vm/host/command.js'
import { ensureHostTools } from '../../vm/host/host-tools.js'
import { LeashedProcess } from '../../vm/host/leashed-process.js'
import { cached, cacheRoot, withLock } from '../../vm/packages/cache.js'
import { collectProgram } from '../../vm/packages/collected-program.js'
import { pickMirror } from '../../vm/packages/debian-mirror.js'

function setEnvironment(t: Test, settings: Record<string, string>): void {
  const saved = process.env
  process.env = { ...saved, ...settings }
  t.teardown(() => {
    process.env = saved
  })
}

function useCache(t: Test): string {
  const dir = t.testdir({})
  setEnvironment(t, { VIRTIOFSD_TS_CACHE: dir })
  return dir
}

t.test('KVM is used only if the processor supports it and /dev/kvm opens', async (t) => {
  const dir = t.testdir({
    vmx: 'processor : 0\nflags\t\t: fpu vme vmx sse\n',
    plain: 'processor : 0\nflags\t\t: fpu vme sse vmx2\n',
    device: '',
  })
  const accelerator = (cpuinfo: string, device: string) =>
    findAccelerator(join(dir, cpuinfo), join(dir, device))
  t.equal(accelerator('vmx', 'device'), 'kvm')
  t.equal(accelerator('plain', 'device'), 'tcg', 'a device node alone')
  t.equal(accelerator('vmx', 'no-device'), 'tcg', 'a processor alone')
})

t.test('the mirror is the Debian one among the sources of other vendors', async (t) => {
  const vendor = 'https://packages.example/apt/ stable main'
  const debian = 'http://mirror.example/debian/ bookworm main'
  t.equal(pickMirror([vendor, debian]), 'http://mirror.example/debian/')
  t.equal(
    pickMirror(['https://docker.example/linux/debian/ bookworm stable', debian]),
    'http://mirror.example/debian/',
  )
  t.equal(pickMirror(['http://mirror.example/debian-security/ bookworm-security main']), undefined)
  t.equal(pickMirror(['']), undefined)
})

t.test('a cached folder is built once, and again when building failed', async (t) => {
  const root = useCache(t)
  t.equal(cacheRoot(), root)
  let builds = 0
  const build = async (dir: string): Promise<void> => {
    builds++
    if (builds === 1) throw new Error('the network is gone')
    await sleep(50)
    writeFileSync(join(dir, 'file'), '')
  }
  await t.rejects(cached('thing', build), /the network is gone/)
  t.notOk(existsSync(join(root, 'thing')))
  const dirs = await Promise.all([cached('thing', build), cached('thing', build)])
  t.equal(builds, 2, 'the second of two callers waited')
  t.same(readdirSync(dirs[0]), ['file'])
})

t.test('a lock ends with its holder', async (t) => {
  useCache(t)
  const module = new URL('../../vm/packages/cache.js', import.meta.url).href
  const code = `import { withLock } from '${module}'; withLock('l', () => { process.kill(process.pid, 'SIGKILL') })`
  const { signal } = spawnSync(process.execPath, ['--input-type=module', '--eval', code])
  t.equal(signal, 'SIGKILL')
  t.equal(await withLock('l', async () => 'mine'), 'mine')
})

t.test('a leashed process dies with the process that started it', async (t) => {
  const module = new URL('../../vm/host/leashed-process.js', import.meta.url).href
  for (const end of [
    'process.exit(1)',
    'process.kill(process.pid, "SIGTERM")',
    'process.kill(process.pid, "SIGKILL")',
  ]) {
    const code = `
      import { LeashedProcess } from '${module}'
      const child = new LeashedProcess('sleep', { command: 'sleep', args: ['1000'] }, [])
      console.log(child.pid)
      setTimeout(() => { ${end} }, 200)`
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', code], {
      encoding: 'utf8',
    })
    await sleep(100)
    t.notOk(isRunning(Number(stdout)), `after ${end}`)
  }
})

t.test('a leashed process does not inherit NODE_OPTIONS and coverage', async (t) => {
  setEnvironment(t, { NODE_OPTIONS: '--no-warnings' })
  const child = new LeashedProcess('sh', { command: 'sh', args: ['-c'] }, [
    'echo "hooks: $NODE_OPTIONS$NODE_V8_COVERAGE"',
  ])
  await child.exited
  t.same(child.log, ['hooks: '])
})

t.test('a leashed process that ignores SIGTERM is killed', async (t) => {
  const stubborn = new LeashedProcess('stubborn', { command: 'sh', args: ['-c'] }, [
    'trap "" TERM; echo ready; while :; do sleep 1; done',
  ])
  await new Promise<void>((resolve) => stubborn.once('line', () => resolve()))
  t.match(await stubborn.stop(100), { signal: 'SIGKILL' })
  t.same(stubborn.log, ['ready'])
})

t.test('a cache folder that cannot be made is named', async (t) => {
  setEnvironment(t, { VIRTIOFSD_TS_CACHE: '/dev/null/cache' })
  const message = /^no cache in \/dev\/null\/cache: .*VIRTIOFSD_TS_CACHE/
  await t.rejects(
    cached('thing', async () => {}),
    { name: 'SetupError', message },
  )
})

t.test('a missing program or package of the host is named', async (t) => {
  await t.rejects(ensureHostTools('arm64'), { name: 'SetupError', message: /x86-64 host; this one is arm64/ })
  // Nothing at all is installed, apt-get neither.
  setEnvironment(t, { PATH: t.testdir({}) })
  await t.rejects(ensureHostTools(), {
    name: 'SetupError',
    message: /run apt-get install gcc libc6-dev .* as root/,
  })
})

t.test('a program is kept only with libraries of its own', async (t) => {
  const tree = t.testdir({ usr: { bin: {}, lib: {} }, into: {} })
  copyFileSync('/bin/true', join(tree, 'usr/bin/true'))
  const collect = () => collectProgram(tree, 'usr/bin/true', join(tree, 'into'))
  await t.rejects(collect(), { name: 'SetupError', message: /no ld-linux-x86-64\.so\.2 came with/ })
  mkdirSync(join(tree, 'usr/lib/x86_64-linux-gnu'))
  copyFileSync('/lib64/ld-linux-x86-64.so.2', join(tree, 'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2'))
  await t.rejects(collect(), {
    name: 'SetupError',
    message: /needs libc\.so\.6, which its packages do not bring/,
  })
})

t.test('a missing command and a failing one are told apart', async (t) => {
  await t.rejects(runCommand('no-such-command', []), {
    name: 'SetupError',
    message: /no-such-command is not installed/,
  })
  await t.rejects(runCommand('sh', ['-c', 'echo why >&2; exit 1']), {
    name: 'CommandError',
    message: 'sh failed: why',
  })
})

t.test(
  'the machine has shared memory and its shares, and room for more memory only when asked',
  async (t) => {
    const options = {
      accelerator: 'tcg' as const,
      kernelImage: 'bzImage',
      initramfs: 'image',
      kernelArgs: ['quiet', 'x=1'],
      memoryMiB: 6144,
      maxMemoryMiB: 6144,
      cpus: 2,
      shares: [
        { tag: 'a,b', socketPath: '/tmp/s,1' },
        { tag: 'c', socketPath: '/s2', requestQueues: 4, queueSize: 128 },
      ],
      disks: [{ socketPath: '/d,1', queues: 2 }],
      sockets: { console: '/c', agentPort: '/p', agentSerial: '/a', qmp: '/q' },
    }
    const line = machineArguments(options).join(' ')
    t.match(line, '-m 6144M -object memory-backend-memfd,id=mem,size=6144M,share=on')
    t.match(line, '-append quiet x=1 ')
    t.match(line, 'socket,id=fs0,path=/tmp/s,,1')
    t.match(line, 'socket,id=disk0,path=/d,,1 -device vhost-user-blk-pci,chardev=disk0,num-queues=2')
    t.match(line, 'vhost-user-fs-pci,chardev=fs0,tag=a,,b,queue-size=1024,num-request-queues=1')
    t.match(line, 'vhost-user-fs-pci,chardev=fs1,tag=c,queue-size=128,num-request-queues=4')
    t.match(machineArguments({ ...options, maxMemoryMiB: 8192 }).join(' '), '-m 6144M,slots=8,maxmem=8192M')
    t.match(machineArguments({ ...options, accelerator: 'kvm' }).join(' '), '-accel kvm -cpu host')
  },
)

/** A killed process may stay as a zombie where PID 1 does not reap. */
function isRunning(pid: number): boolean {
  const { stdout } = spawnSync('ps', ['-o', 'stat=', '-p', `${pid}`], { encoding: 'utf8' })
  return /^[^Z]/.test(stdout.trim())
}

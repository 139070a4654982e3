/** The seccomp filter, run as the kernel runs it. */
import t from 'tap'
import { constants } from 'virtiofsd-ts-native'
import { seccompFilter } from '../../src/sandbox/seccomp-filter.js'
import { systemCallRules } from '../../src/sandbox/system-calls.js'
import * as calls from '../support/host/system-calls.js'

const ALLOW = 0x7fff_0000
const KILL = 0x8000_0000
const ENOSYS_RESULT = 0x0005_0026
const ARCH = constants.AUDIT_ARCH
const HIGHEST_CALL = 600
/** On x86-64, where these tests know their numbers. */
const forbidden = {
  socket: 41,
  connect: 42,
  execve: 59,
  kill: 62,
  ptrace: 101,
  mount: 165,
  unshare: 272,
  bpf: 321,
}
const CLONE_THREAD = 0x1_0000
const CLONE_NEWUSER = 0x1000_0000

const program = seccompFilter(systemCallRules, 'kill')

/** What the filter returns for a call. Arguments are 64 bits each. */
function verdict(number: number, args: readonly bigint[] = [], arch = ARCH): number {
  const data = new DataView(new ArrayBuffer(64))
  data.setUint32(0, number, true)
  data.setUint32(4, arch, true)
  for (const [n, value] of args.entries()) data.setBigUint64(16 + 8 * n, value, true)
  return run(new DataView(program.buffer), data)
}

/** The classic BPF that filters are made of: loads, one AND, jumps and returns. */
function run(code: DataView, data: DataView): number {
  let accumulator = 0
  for (let at = 0; ; at += 8) {
    const operation = code.getUint16(at, true)
    const k = code.getUint32(at + 4, true)
    const jump = (holds: boolean) => {
      at += 8 * code.getUint8(at + (holds ? 2 : 3))
    }
    if (operation === 0x06) return k
    if (operation === 0x20) accumulator = data.getUint32(k, true)
    else if (operation === 0x54) accumulator = (accumulator & k) >>> 0
    else if (operation === 0x15) jump(accumulator === k)
    else if (operation === 0x35) jump(accumulator >= k)
    else throw new Error(`an instruction that this test does not know: ${operation}`)
  }
}

const numberOf = (name: string) => calls.numberOf(name) as number

t.test('every rule names a call that this machine has, or that another architecture has', async (t) => {
  const missing = systemCallRules.map(({ name }) => name).filter((name) => calls.numberOf(name) === undefined)
  // Older headers lack the newest call; arm64 has no calls on paths without a directory.
  const absent = ['fchmodat2', 'epoll_wait', 'poll', 'time', 'unlink', 'rename']
  t.same(
    missing.filter((name) => !absent.includes(name)),
    [],
  )
  t.equal(calls.numberOf('reads'), undefined)
  t.equal(calls.numberOf(''), undefined)
  if (process.arch === 'x64')
    for (const [name, number] of Object.entries(forbidden)) t.equal(calls.numberOf(name), number, name)
})

t.test('a call without a rule is refused', async (t) => {
  const ruled = new Set(systemCallRules.map(({ name }) => calls.numberOf(name)))
  for (let number = 0; number < HIGHEST_CALL; number++) {
    if (!ruled.has(number) && verdict(number) !== KILL) t.fail(`call ${number} passes`)
  }
  for (const rule of systemCallRules) {
    if ('allow' in rule && calls.numberOf(rule.name) !== undefined)
      t.equal(verdict(numberOf(rule.name)), ALLOW, rule.name)
  }
  if (process.arch === 'x64')
    for (const [name, number] of Object.entries(forbidden)) t.equal(verdict(number), KILL, name)
})

t.test('other architectures and ABIs are refused', async (t) => {
  t.equal(verdict(numberOf('read'), [], 0x4000_0003), KILL, '32-bit x86')
  t.equal(verdict(numberOf('read') + 0x4000_0000), KILL, 'x32')
})

t.test('calls with rules for their arguments are allowed only with those', async (t) => {
  const thread = BigInt(CLONE_THREAD | 0x3d_0f00)
  t.equal(verdict(numberOf('clone'), [thread]), ALLOW)
  t.equal(verdict(numberOf('clone'), [17n]), KILL, 'a process')
  t.equal(verdict(numberOf('clone'), [thread | BigInt(CLONE_NEWUSER)]), KILL, 'a namespace')
  t.equal(verdict(numberOf('clone3')), ENOSYS_RESULT)
  t.equal(verdict(numberOf('io_uring_setup')), ENOSYS_RESULT, "libuv asks for one for each thread's loop")
  t.equal(verdict(forbidden.unshare, [0x200n]), ALLOW, 'CLONE_FS: a thread of its own')
  t.equal(verdict(forbidden.unshare, [0x1000_0200n]), KILL, 'and a user namespace')
  t.equal(verdict(numberOf('ioctl'), [0n, 0x5421n]), ALLOW, 'FIONBIO')
  t.equal(verdict(numberOf('ioctl'), [0n, 0x5412n]), KILL, 'TIOCSTI')
  t.equal(verdict(numberOf('ioctl'), [0n, 0x8008_6601n]), ALLOW, 'FS_IOC_GETFLAGS')
  t.equal(verdict(numberOf('tgkill'), [BigInt(process.pid), 7n, 6n]), ALLOW, 'a thread of this process')
  for (const pid of [1n, 0n, 0xffff_ffffn, BigInt(process.ppid)])
    t.equal(verdict(numberOf('tgkill'), [pid, 7n, 9n]), KILL, `process ${pid}`)
  for (const command of [0n, 3n, 4n, 37n, 1030n]) t.equal(verdict(numberOf('fcntl'), [5n, command]), ALLOW)
  t.equal(verdict(numberOf('fcntl'), [5n, 8n]), KILL, 'F_SETOWN')
  t.equal(verdict(numberOf('fcntl'), [5n, 10n]), KILL, 'F_SETSIG')
  t.equal(verdict(numberOf('fcntl'), [5n, 15n]), KILL, 'F_SETOWN_EX')
  t.equal(verdict(numberOf('fcntl'), [5n, 1024n]), KILL, 'F_SETLEASE')
  t.equal(verdict(numberOf('prctl'), [15n]), ALLOW, 'PR_SET_NAME')
  t.equal(verdict(numberOf('prctl'), [22n]), KILL, 'PR_SET_SECCOMP')
  t.equal(verdict(numberOf('prlimit64'), [0n, 7n, 0n]), ALLOW, 'reading')
  t.equal(verdict(numberOf('prlimit64'), [0n, 7n, 0x7fff_0000_1000n]), KILL, 'setting')
  t.equal(
    verdict(numberOf('prlimit64'), [0n, 7n, 0x1_0000_0000n]),
    KILL,
    'setting, from an address whose low half is 0',
  )
})

t.test('a refused call gets the chosen action', async (t) => {
  const last = (action: 'log' | 'trap') => {
    const bytes = seccompFilter(systemCallRules, action)
    return new DataView(bytes.buffer).getUint32(bytes.length - 4, true)
  }
  t.equal(last('log'), 0x7ffc_0000)
  t.equal(last('trap'), 0x0003_0000)
})

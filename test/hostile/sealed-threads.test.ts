/**
 * The program serves a guest with its default confinement, and is taken over. On each of its threads every system call
 * is made that serving does not need, and the allowed calls are used against the host.
 */
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import * as native from 'virtiofsd-ts-native'
import { systemCallRules } from '../../src/sandbox/system-calls.js'
import { servingPidOf } from '../../vm/device/serving-pid.js'
import { isRoot } from '../support/device/cases.js'
import { Device } from '../support/device/device.js'
import { RunningProgram } from '../support/device/program.js'
import { ROOT_ID } from '../support/fuse/fuse-abi.js'
import { mount } from '../support/fuse/mount.js'
import { numberOf, systemCalls } from '../support/host/system-calls.js'
import { tempDir } from '../support/host/temp-dir.js'
import { ThreadCalls, threadsOf } from '../support/host/thread-calls.js'

const HIGHEST_CALL = 600
/** 128 and the number of SIGSYS. */
const KILLED_BY_SECCOMP = 159
const X32_BIT = 0x4000_0000
const [EPERM, ENOENT, ESRCH, EACCES, EROFS, ENOSYS, ENETUNREACH, ESTALE] = [1, 2, 3, 13, 30, 38, 101, 116]
const [AT_FDCWD, AT_REMOVEDIR, O_RDONLY, O_CREAT, O_DIRECTORY] = [-100, 0x200, 0, 0o100, 0o200000]
const [S_IFBLK, MODE] = [0o060000, 0o644]
/** The first disk's first partition, as mknod(2) takes it. */
const DISK = 0x0801
const [PROT_READ, PROT_EXEC, MAP_PRIVATE] = [1, 4, 2]
const CLONE_NEWNS = 0x2_0000
const PTRACE_ATTACH = 16
/** struct sockaddr_in: port 80 of 192.0.2.1. */
const ELSEWHERE = Buffer.from('02000050c00002010000000000000000', 'hex')
/** struct iovec: one byte, somewhere. */
const ONE_BYTE = Buffer.from('00100000000000000100000000000000', 'hex')
/** Of struct file_handle, with room for the handle. */
const HANDLE_BYTES = 8 + 128

/** Calls that an intruder would use, by their numbers on x86-64. All others without a rule are tried as well. */
const wanted = {
  open: 2,
  socket: 41,
  connect: 42,
  fork: 57,
  vfork: 58,
  execve: 59,
  kill: 62,
  ptrace: 101,
  pivot_root: 155,
  chroot: 161,
  mount: 165,
  umount2: 166,
  init_module: 175,
  tkill: 200,
  add_key: 248,
  request_key: 249,
  keyctl: 250,
  unshare: 272,
  perf_event_open: 298,
  fanotify_init: 300,
  setns: 308,
  process_vm_readv: 310,
  process_vm_writev: 311,
  finit_module: 313,
  seccomp: 317,
  bpf: 321,
  execveat: 322,
  userfaultfd: 323,
  pidfd_send_signal: 424,
  io_uring_register: 427,
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  pidfd_open: 434,
  pidfd_getfd: 438,
  mount_setattr: 442,
} as const
const [EXECVE_32, SOCKETCALL_32, OPEN_32] = [11, 102, 5]
/**
 * uretprobe and uprobe, from Linux 6.11 on: the kernel lets them pass every filter, because a probed program returns
 * from its probe by them. A program without probes gets ENXIO, or SIGILL.
 */
const ofProbes = [335, 336]

const skip = !isRoot
  ? { skip: 'needs root: namespaces, and to trace another process' }
  : process.arch !== 'x64'
    ? { skip: 'knows the registers of x86-64 only' }
    : {}

/** A device that serves, with all the threads that it will ever have. */
async function serve(t: Test, args: readonly string[]) {
  const device = await Device.start(t, ['--keep-alive', ...args], { sandbox: 'namespace' })
  writeFileSync(join(device.directory, 'file'), 'inside')
  const fs = mount(t, device)
  const file = fs.lookup(ROOT_ID, 'file').nodeid
  const { handle } = fs.open(file, O_RDONLY)
  const stillServes = () => Buffer.from(fs.read(file, handle, 0, 6)).toString() === 'inside'
  t.ok(stillServes())
  const [first] = threadsOf(device.pid)
  return { device, stillServes, tid: first!.tid }
}

const errnoOf = (result: string | undefined): number => -Number(result)

t.test('no thread may make a system call that serving does not need', skip, async (t) => {
  const calls = new ThreadCalls(t)
  const { device, stillServes } = await serve(t, ['--seccomp', 'trap'])
  const ruled = new Set(systemCallRules.map(({ name }) => numberOf(name)))
  const all = Array.from({ length: HIGHEST_CALL }, (_, number) => number)
  const unruled = all.filter((number) => !ruled.has(number) && !ofProbes.includes(number))
  // The only unshare that a thread may make is of umask and working directory: see test/unit/sandbox-filter.test.ts.
  const { unshare: _, ...refused } = wanted
  for (const [name, number] of Object.entries(refused)) t.ok(unruled.includes(number), name)
  const threads = threadsOf(device.pid)
  t.ok(threads.length > 5, `${threads.length} threads: ${threads.map(({ name }) => name).join(', ')}`)
  for (const { tid, name } of threads) {
    const results = calls.make(
      device.pid,
      unruled.map((number) => ({ tid, number, args: [PTRACE_ATTACH, 1] })),
    )
    t.same([...new Set(results)], ['refused'], `${results.length} calls on the thread ${name}`)
    for (const result of calls.make(
      device.pid,
      ofProbes.map((number) => ({ tid, number })),
    ))
      t.match(result, /^(refused|signal 4|-6)$/, 'returning from a probe that there is not')
    const oldWays = calls.make(device.pid, [
      { tid, gate: 'int80', number: EXECVE_32 },
      { tid, gate: 'int80', number: SOCKETCALL_32 },
      { tid, gate: 'int80', number: OPEN_32 },
      { tid, number: X32_BIT + 0 },
    ])
    t.ok(
      oldWays.every((result) => result === 'refused' || errnoOf(result) === ENOSYS),
      `as a 32-bit or x32 program: ${oldWays.join(', ')}`,
    )
  }
  t.ok(stillServes(), 'and it serves on')
})

t.test('by default the first forbidden call ends the process', skip, async (t) => {
  const calls = new ThreadCalls(t)
  for (const name of ['ptrace', 'process_vm_readv', 'execve'] as const) {
    const share = tempDir(t)
    const paths = ['--shared-dir', share, '--socket-path', join(tempDir(t), 'socket')]
    const program = new RunningProgram(t, [...paths, '--keep-alive'])
    await program.says('"ready')
    const pid = servingPidOf(program.pid)
    const { tid } = threadsOf(pid).at(-1)!
    t.same(calls.make(pid, [{ tid, number: wanted[name] }]), ['ended'], name)
    t.match(await program.exited, { status: KILLED_BY_SECCOMP })
  }
})

/** struct file_handle of a file of the host: bytes, type, handle. */
function handleOf(path: string): Uint8Array {
  const handle = Buffer.alloc(HANDLE_BYTES)
  const lenBytes = native.nameToHandleAt(AT_FDCWD, Buffer.from(`${path}\0`), 0, 0, handle)
  if (lenBytes < 0) throw new Error(`no handle: errno ${-lenBytes}`)
  handle.writeInt32LE(lenBytes, 0)
  return handle
}

/** Makes a call on a thread. Returns its result, or NaN for any other outcome. */
function intruder(calls: ThreadCalls, pid: number, tid: number) {
  return (number: number | undefined, ...args: (number | string | Uint8Array)[]): number =>
    Number(calls.make(pid, [{ tid, number: number!, args }])[0])
}

t.test('calls that are allowed cannot reach the host', skip, async (t) => {
  const { device, tid, stillServes } = await serve(t, ['--seccomp', 'trap', '--inode-file-handles', 'never'])
  const outside = join(tempDir(t), 'secret')
  writeFileSync(outside, 'of the host')
  const attempt = intruder(new ThreadCalls(t), device.pid, tid)
  const { openat, openat2, unlinkat, mknodat, mmap, tgkill, capset, open_by_handle_at } = systemCalls

  for (const path of ['/etc/passwd', outside, '/s0/../../etc/passwd', '/proc/self/environ', '/dev/mem'])
    t.equal(attempt(openat, AT_FDCWD, path, O_RDONLY), -ENOENT, path)
  t.equal(attempt(openat2, AT_FDCWD, '/etc/passwd', Buffer.alloc(24), 24), -ENOENT)
  t.equal(attempt(openat, AT_FDCWD, '/made', O_CREAT, MODE), -EROFS, 'the root is read-only')
  t.equal(attempt(unlinkat, AT_FDCWD, '/s0', AT_REMOVEDIR), -EROFS, 'and the share stays where it is')

  t.equal(
    attempt(mknodat, AT_FDCWD, '/s0/disk', S_IFBLK | MODE, DISK),
    0,
    'a device node, as guests make them',
  )
  t.equal(attempt(openat, AT_FDCWD, '/s0/disk', O_RDONLY), -EACCES, 'is not opened')
  const fileFd = attempt(openat, AT_FDCWD, '/s0/file', O_RDONLY)
  t.equal(attempt(mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileFd, 0), -EPERM, 'nor code run')

  const shareFd = attempt(openat, AT_FDCWD, '/s0', O_DIRECTORY)
  t.equal(
    attempt(open_by_handle_at, shareFd, handleOf(outside), O_RDONLY),
    -EPERM,
    'a file of the host by its handle',
  )

  t.ok(Number.isNaN(attempt(tgkill, process.pid, process.pid, 0)), 'a signal for another process is refused')
  const version3 = Buffer.from('2205082000000000', 'hex')
  t.equal(attempt(capset, version3, Buffer.alloc(24, 0xff)), -EPERM, 'capabilities that it was not left')
  t.ok(stillServes())
})

t.test('file handles of other file systems cannot be opened', skip, async (t) => {
  const { device, tid } = await serve(t, ['--seccomp', 'trap'])
  const outside = join(process.cwd(), 'package.json')
  t.not(statSync(outside).dev, statSync(device.directory).dev)
  const attempt = intruder(new ThreadCalls(t), device.pid, tid)
  const { openat, open_by_handle_at } = systemCalls
  const shareFd = attempt(openat, AT_FDCWD, '/s0', O_DIRECTORY)
  t.equal(attempt(open_by_handle_at, shareFd, handleOf(outside), O_RDONLY), -ESTALE)
})

t.test('without a filter, namespaces and capabilities keep the process from the host', skip, async (t) => {
  const { device, tid, stillServes } = await serve(t, ['--seccomp', 'none'])
  const attempt = intruder(new ThreadCalls(t), device.pid, tid)
  t.equal(attempt(wanted.mount, 'none', '/s0', 'tmpfs', 0, 0), -EPERM)
  t.equal(attempt(wanted.umount2, '/s0', 0), -EPERM)
  t.equal(attempt(wanted.pivot_root, '/', '/s0'), -EPERM)
  t.equal(attempt(wanted.chroot, '/s0'), -EPERM)
  t.equal(attempt(wanted.unshare, CLONE_NEWNS), -EPERM)
  t.equal(attempt(wanted.open_tree, AT_FDCWD, '/s0', 1), -EPERM)
  t.equal(attempt(wanted.bpf, 5, Buffer.alloc(120), 120), -EPERM, 'BPF_PROG_LOAD')
  t.equal(attempt(wanted.userfaultfd, 0), -EPERM)
  t.equal(attempt(wanted.ptrace, PTRACE_ATTACH, process.pid), -ESRCH, 'nobody to trace')
  t.equal(attempt(wanted.kill, process.pid, 0), -ESRCH)
  t.equal(attempt(wanted.pidfd_open, process.pid, 0), -ESRCH)
  t.equal(attempt(wanted.process_vm_readv, process.pid, ONE_BYTE, 1, ONE_BYTE, 1, 0), -ESRCH)
  t.equal(attempt(wanted.execve, '/bin/sh', 0, 0), -ENOENT, 'nothing to execute')
  const socket = attempt(wanted.socket, 2, 1, 0)
  t.equal(attempt(wanted.connect, socket, ELSEWHERE, ELSEWHERE.length), -ENETUNREACH, 'no network')
  t.ok(stillServes())
})

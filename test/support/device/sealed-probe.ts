/**
 * Started by the launcher: seals itself as the program does, then tries the attack that its first argument names, and
 * prints the outcome.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { connect } from 'node:net'
import * as native from 'virtiofsd-ts-native'
import { seccompFilter } from '../../../src/sandbox/seccomp-filter.js'
import { systemCallRules } from '../../../src/sandbox/system-calls.js'

const procFd = Number(process.env['VIRTIOFSD_TS_PROC_FD'])

const attempts: Readonly<Record<string, () => unknown>> = {
  nothing: () => 'alive',
  list: () => readdirSync('/').join(','),
  'list share': () => readdirSync('/s0').join(','),
  'read passwd': () => readFileSync('/etc/passwd', 'utf8').length,
  'go up': () => readFileSync('/s0/../../../../etc/passwd', 'utf8').length,
  'look at itself': () => (native.inodePath(procFd, procFd, new Uint8Array(100)) > 0 ? 'itself' : 'nothing'),
  // Root may write there without any capability; from there it is one step to a program that the host starts.
  'climb out of its descriptors': () =>
    native.openat(procFd, Buffer.from('../../sys/kernel/core_pattern\0'), 0, native.constants.O_RDONLY, 0),
  'write the root': () => native.unlinkat(native.constants.AT_FDCWD, Buffer.from('/s0\0'), 0, 0x200),
  execute: () => spawnSync(process.execPath, ['-e', '0']).status,
  'make a socket': () => connect('/s0/socket'),
  // The first such call starts libuv's pool.
  'make threads': async () => (await readdir('/')).join(','),
  'kill another': () => process.kill(process.ppid, 0),
}

const result = native.sealRequest(Number(process.env['VIRTIOFSD_TS_SEAL_FD']))
if (result < 0) throw new Error(`not sealed: ${result}`)
if (process.argv[3] !== 'no filter') native.seccompInstall(seccompFilter(systemCallRules, 'kill'))
const attempt = attempts[process.argv[2] ?? '']
try {
  process.stdout.write(`${await attempt?.()}\n`)
} catch (error) {
  process.stdout.write(`${(error as NodeJS.ErrnoException).code}\n`)
}

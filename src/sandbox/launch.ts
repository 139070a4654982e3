import { writeSync } from 'node:fs'
import { deserialize, serialize } from 'node:v8'
import { errnoName } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { Configuration } from '../config/configuration.js'
import type { IdRange } from '../config/id-map.js'
import type { ClaimedSockets } from '../sockets/listening-sockets.js'
import type { ManagerLink } from '../sockets/service-manager.js'
import { capabilityMask } from './capabilities.js'
import type { Confinement } from './confinement.js'

/** What the confined process is told by the one that started it. */
export interface Inheritance {
  readonly configuration: Configuration
  readonly confinement: Confinement
  /** Undefined without a sandbox: the process makes them itself. */
  readonly sockets: InheritedFds | undefined
  readonly syslogFd: number | undefined
  readonly managerLink: ManagerLink | undefined
}

/** Sockets that listen already, where their paths are out of reach. */
export interface InheritedFds {
  readonly shareFds: readonly number[]
  readonly controlFd: number | undefined
}

/** What whoever starts it knows. */
export type ServerPlan = Omit<Inheritance, 'sockets'>

/** Node marks them to be closed with everything else. */
const STDIO = [0, 1, 2]

const PROGRAM = new URL('../confined.js', import.meta.url).pathname

/**
 * Becomes the launcher, which makes the confinement and starts src/confined.ts in it. This process's id, sockets and locks
 * stay what they are. `sockets` is undefined without a sandbox. `args`, the command line, is passed on for those who look
 * at the process. Throws when it cannot.
 */
export function becomeConfined(
  plan: ServerPlan,
  sockets: ClaimedSockets | undefined,
  args: readonly string[],
): never {
  const { shareFds = givenFds(plan.configuration), controlFd, lockFds = [], files = [] } = sockets ?? {}
  const stateFd = writeInheritance({ ...plan, sockets: sockets && { shareFds, controlFd } })
  const { sandbox, userNamespace, capabilities, entries } = plan.confinement
  const words = [
    ...[native.launcherPath, '--sandbox', sandbox, '--capabilities', capabilityMask(capabilities)],
    ...rangeWords('--user-map', userNamespace?.users),
    ...rangeWords('--group-map', userNamespace?.groups),
    ...entries.flatMap(({ name, path, readonly }) => [
      readonly ? '--mount-readonly' : '--mount',
      `${name}=${path}`,
    ]),
    ...files.flatMap((path) => ['--unlink', path]),
    ...lockFds.flatMap((fd) => ['--private-fd', `${fd}`]),
    ...['--', process.execPath, ...process.execArgv, PROGRAM, `${stateFd}`, ...args],
  ]
  const inherited = [
    ...STDIO,
    stateFd,
    ...shareFds,
    ...[controlFd, plan.syslogFd, plan.managerLink?.fd].filter((fd) => fd !== undefined),
    ...lockFds,
  ]
  const result = native.becomeProgram(words, Int32Array.from(inherited))
  throw new Error(`${native.launcherPath} cannot be started: ${errnoName(-result)}`)
}

/** Listening sockets that whoever started this process gave to it. */
function givenFds({ shares }: Configuration): readonly number[] {
  return shares.map(({ inheritedFd }) => inheritedFd).filter((fd) => fd !== undefined)
}

function rangeWords(option: string, ranges: readonly IdRange[] = []): readonly string[] {
  return ranges.flatMap(({ inside, outside, count }) => [option, `${inside}:${outside}:${count}`])
}

function writeInheritance(inheritance: Inheritance): number {
  const bytes = serialize(inheritance)
  const fd = native.memfdCreate(bytes.length)
  if (fd < 0) throw new Error(`no shared memory: ${errnoName(-fd)}`)
  writeSync(fd, bytes, 0, bytes.length, 0)
  return fd
}

/** Reads what `becomeConfined` wrote. */
export function readInheritance(bytes: Uint8Array): Inheritance {
  // Written by this program, and sealed from others: see writeInheritance.
  return deserialize(bytes) as Inheritance
}

import { writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { deserialize, serialize } from 'node:v8'
import { errnoName } from 'virtio-fs-ts/protocol'
import * as native from 'virtiofsd-ts-native'
import type { Configuration } from '../config/configuration.js'
import type { IdRange } from '../config/id-map.js'
import type { ClaimedSockets } from '../sockets/listening-sockets.js'
import { PacketSocket } from '../sockets/packet-socket.js'
import type { ManagerLink } from '../sockets/service-manager.js'
import { capabilityMask } from './capabilities.js'
import type { Confinement } from './confinement.js'

/** The data that the starting process hands to the confined one. */
export interface Inheritance {
  readonly configuration: Configuration
  readonly confinement: Confinement
  /** Undefined without a sandbox and without a broker: the confined process makes the sockets itself. */
  readonly sockets: InheritedFds | undefined
  readonly syslogFd: number | undefined
  readonly managerLink: ManagerLink | undefined
  /** The sockets of shares whose trees the process before has counted. */
  readonly counted: readonly string[]
  /** The process that starts, as the world outside sees it. */
  readonly pid: number
}

/** Sockets that listen already, since their paths are out of reach inside. */
export interface InheritedFds {
  readonly shareFds: readonly number[]
  readonly controlFd: number | undefined
  readonly metricsFd: number | undefined
  /** The mount namespace of the process that serves, for its successor; undefined: it has none of its own, or there is none. */
  readonly mountsFd?: number | undefined
}

/** The part of the data that the starting process knows. */
export type ServerPlan = Omit<Inheritance, 'sockets'>

/** Node marks these descriptors close-on-exec, like all others. */
const STDIO = [0, 1, 2]

/**
 * Node's options for a process that runs no code of others: one helper thread, and 1 MiB for each half of the space for
 * new objects, of which a request makes hardly any.
 */
const LEAN_OPTIONS = ['--v8-pool-size=1', '--max-semi-space-size=1']

const PROGRAM = new URL('../confined.js', import.meta.url).pathname
/** The helper that the broker starts to change the running process: see native/launcher/broker.c. */
const HELPER = new URL('../helper.js', import.meta.url).pathname

/**
 * Becomes the launcher, which makes the confinement and starts src/confined.ts in it. With `sockets`, this process becomes
 * the keeper, and the broker holds the locks; otherwise it becomes the program itself. `args` is the command line, passed on
 * so that tools such as ps show it. Throws on failure.
 */
export function becomeConfined(
  plan: ServerPlan,
  sockets: ClaimedSockets | undefined,
  args: readonly string[],
): never {
  const {
    shareFds = givenFds(plan.configuration),
    controlFd,
    metricsFd,
    changesFd,
    locks = [],
  } = sockets ?? {}
  const node = nodeWords(plan)
  const stateFd = writeInheritance({ ...plan, sockets: sockets && { shareFds, controlFd, metricsFd } })
  // Without a sandbox and without anything that could ask for a change, root has privileges to drop, and nothing else.
  const broker = sockets === undefined ? [] : brokerWords(node.length, changesFd, locks)
  const program = [...node, PROGRAM, `${stateFd}`, ...args]
  become(
    [...launcherWords(plan), ...broker, '--', ...program],
    [
      stateFd,
      ...shareFds,
      ...[controlFd, changesFd, metricsFd, plan.syslogFd, plan.managerLink?.fd],
      ...locks.map(({ lockFd }) => lockFd),
    ],
  )
}

/**
 * Becomes the launcher of a successor, which gets its sockets over `successionFd` from the process that serves. Tells the
 * broker the words of its program, for helpers to come. Throws on failure.
 */
export function becomeSuccessor(
  plan: ServerPlan,
  successionFd: number,
  { controlFd, metricsFd, mountsFd }: Omit<InheritedFds, 'shareFds'>,
  args: readonly string[],
): never {
  const handoverFd = Number(process.env['VIRTIOFSD_TS_HANDOVER_FD'])
  const node = nodeWords(plan)
  const sockets = { shareFds: [], controlFd, metricsFd, mountsFd }
  const stateFd = writeInheritance({ ...plan, sockets })
  const program = [...node, PROGRAM, `${stateFd}`, ...args]
  const told = [`${node.length}`, HELPER, ...program].map((word) => `${word}\0`).join('')
  new PacketSocket(Number(process.env['VIRTIOFSD_TS_WORDS_FD'])).send(told)
  become(
    [...launcherWords(plan), '--handover-fd', `${handoverFd}`, '--', ...program],
    [
      ...[stateFd, successionFd, handoverFd, controlFd, metricsFd, mountsFd],
      ...[plan.syslogFd, plan.managerLink?.fd],
    ],
  )
}

/** Becomes a program that inherits these descriptors; undefined and -1 stand for none. */
function become(words: readonly string[], fds: readonly (number | undefined)[]): never {
  const inherited = fds.filter((fd): fd is number => fd !== undefined && fd >= 0)
  const result = native.becomeProgram(words, Int32Array.from([...STDIO, ...inherited]))
  throw new Error(`${native.launcherPath} cannot be started: ${errnoName(-result)}`)
}

/** Node, and the options for its program. */
function nodeWords({ configuration }: ServerPlan): readonly string[] {
  const isLean = configuration.shares.every(({ fileSystem }) => fileSystem === undefined)
  if (isLean) becomeLean()
  const given = process.execArgv.filter((option) => !LEAN_OPTIONS.includes(option))
  return [process.execPath, ...(isLean ? LEAN_OPTIONS : []), ...given]
}

function launcherWords({ configuration, confinement }: ServerPlan): readonly string[] {
  const { sandbox, userNamespace, capabilities, entries } = confinement
  return [
    ...[native.launcherPath, '--sandbox', sandbox, '--capabilities', capabilityMask(capabilities)],
    ...(configuration.configFile === undefined ? [] : ['--hangup', 'reload']),
    ...rangeWords('--user-map', userNamespace?.users),
    ...rangeWords('--group-map', userNamespace?.groups),
    ...entries.flatMap(({ name, path, readonly }) => [
      readonly ? '--mount-readonly' : '--mount',
      `${name}=${path}`,
    ]),
  ]
}

/** Sets the environment of a process that runs no code of others. */
function becomeLean(): void {
  // Node reads these certificates at each start, which takes as long as all the rest.
  delete process.env['NODE_EXTRA_CA_CERTS']
  // With an arena of its own for each thread, glibc keeps what V8's compiler frees.
  process.env['MALLOC_ARENA_MAX'] ??= '1'
}

function brokerWords(
  /** The word of the program, after "--", that is its script. */
  scriptAt: number,
  changesFd: number | undefined,
  locks: ClaimedSockets['locks'],
): readonly string[] {
  return [
    ...['--helper', `${scriptAt}=${HELPER}`],
    ...(changesFd === undefined ? [] : ['--changes-fd', `${changesFd}`]),
    ...locks.flatMap(({ path, lockFd }) => ['--socket', `${lockFd}=${resolve(path)}`]),
  ]
}

/** Listening sockets that this process inherited. */
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

/** Reads the data that `becomeConfined` wrote. */
export function readInheritance(bytes: Uint8Array): Inheritance {
  // This program wrote the bytes and sealed them from others: see writeInheritance.
  return deserialize(bytes) as Inheritance
}

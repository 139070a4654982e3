import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Guest } from '../../guest/guest.js'
import { runCommand } from '../../host/command.js'
import type { Side } from './side.js'
import type { Result, Sample, Workload } from './workload.js'

const STORM_FILES = 300
const TREE_FOLDERS = 20
const FILES_PER_FOLDER = 15
const TREE_FILES = TREE_FOLDERS * FILES_PER_FOLDER
const LONG_MS = 120_000
const US = 1e6
/** Makes git accept the repository's owner on the host, and do nothing in the background. */
const GIT = [
  "git -c safe.directory='*' -c user.name=bench -c user.email=bench@localhost",
  '-c gc.auto=0 -c maintenance.auto=false',
].join(' ')

const phases: readonly (Result & { unit: 'ops/s' })[] = [
  { name: 'create', unit: 'ops/s', opcodes: ['CREATE'] },
  { name: 'stat', unit: 'ops/s', opcodes: ['LOOKUP'] },
  { name: 'readdir, entries', unit: 'ops/s', opcodes: ['READDIR', 'READDIRPLUS'] },
  { name: 'unlink', unit: 'ops/s', opcodes: ['UNLINK'] },
]

/** Creates, stats, lists and unlinks many empty files; drops the guest's caches before each phase. */
export const storm: Workload = {
  name: 'storm',
  results: phases,
  prepare: async () => {},
  run: eachInTurn(async (guest, { guestDir }) => {
    const output = await guest.output(`tree-storm ${guestDir} ${STORM_FILES}`, { timeoutMs: LONG_MS })
    const rates = output
      .trim()
      .split('\n')
      .map((line) => Number(line.split(' ')[1]))
    if (rates.length !== phases.length || rates.some(Number.isNaN)) throw new Error(`tree-storm: ${output}`)
    return rates.map((rate) => ({ rate, operations: STORM_FILES, guestUs: US / rate }))
  }),
}

/** Unpacks a tree of small files from an archive in the guest's memory. */
export const untar: Workload = {
  name: 'untar',
  results: [{ name: 'untar, files', unit: 'ops/s', opcodes: ['CREATE', 'WRITE'] }],
  prepare: putArchive,
  run: eachInTurn(async (guest, { guestDir }) => {
    const { ms } = await mustRun(
      guest,
      `mkdir ${guestDir}/untar && tar xf /tmp/tree.tar -C ${guestDir}/untar`,
    )
    await mustRun(guest, `rm -r ${guestDir}/untar`)
    return [perFile(ms)]
  }),
}

/** Runs git status in a clean working tree, which git checks file by file. */
export const gitStatus: Workload = {
  name: 'git status',
  results: [{ name: 'git status, files', unit: 'ops/s', opcodes: ['LOOKUP', 'GETATTR'] }],
  prepare: async (guest, side) => {
    const { guestDir } = side
    await putArchive(guest, side)
    await mustRun(
      guest,
      `[ -d ${guestDir}/repository ] || { mkdir ${guestDir}/repository && cd ${guestDir}/repository &&
        tar xf /tmp/tree.tar && git init -q . && ${GIT} add -A && ${GIT} commit -q -m tree; }`,
    )
  },
  run: eachInTurn(async (guest, { guestDir }) => {
    await mustRun(guest, 'echo 3 > /proc/sys/vm/drop_caches')
    const { ms, stdout } = await mustRun(guest, `cd ${guestDir}/repository && ${GIT} status --porcelain`)
    if (stdout.length > 0) throw new Error(`git status sees changes: ${stdout}`)
    return [perFile(ms)]
  }),
}

/** Runs single-share work on one share after the other. */
function eachInTurn(work: (guest: Guest, side: Side) => Promise<Sample[]>): Workload['run'] {
  return async (guest, order) => {
    const samples: Sample[][] = []
    for (const side of order) samples.push(await work(guest, side))
    return samples
  }
}

function perFile(ms: number): Sample {
  return { rate: (TREE_FILES / ms) * 1000, operations: TREE_FILES, guestUs: (ms * 1000) / TREE_FILES }
}

/**
 * Makes an archive of files of up to 16 KiB in the guest's memory. The host builds it, since processes are slow in an
 * emulated guest.
 */
async function putArchive(guest: Guest, { hostDir, guestDir }: Side): Promise<void> {
  const tree = join(hostDir, 'tree')
  for (let folder = 1; folder <= TREE_FOLDERS; folder++) {
    mkdirSync(join(tree, `${folder}`), { recursive: true })
    for (let file = 1; file <= FILES_PER_FOLDER; file++)
      writeFileSync(join(tree, `${folder}/${file}`), randomBytes(folder * file * 50))
  }
  await runCommand('tar', ['--create', '--file', join(hostDir, 'tree.tar'), '--directory', tree, '.'])
  rmSync(tree, { recursive: true })
  await mustRun(guest, `mv ${guestDir}/tree.tar /tmp/tree.tar`)
}

async function mustRun(guest: Guest, command: string): Promise<{ ms: number; stdout: string }> {
  const { status, ms, stdout, stderr } = await guest.run(command, { timeoutMs: LONG_MS })
  if (status !== 0) throw new Error(`in the guest, status ${status} from: ${command}\n${stderr}`)
  return { ms, stdout: stdout.toString() }
}

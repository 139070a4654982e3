/** The kernel counts the rings of all processes of a user as locked memory, of which it allows 8 MiB: they have to be small. */
import { spawnSync } from 'node:child_process'
import t from 'tap'

const KIB = 1024
const LIMIT = 48 * KIB
/** A user without any other process. */
const USER = 61_837

const isRoot = process.geteuid?.() === 0
const make = `import * as native from '${import.meta.resolve('virtiofsd-ts-native')}'
process.stdout.write(String(native.asyncCreate(1, 1, 0)))`

/** Runs a program as a user who owns nothing else, with this much locked memory. Returns what it prints. */
function printed(limit: number, program: string): string {
  const node = [process.execPath, '--input-type=module', '-e', program]
  const user = ['setpriv', '--reuid', `${USER}`, '--clear-groups', ...node]
  return spawnSync('prlimit', [`--memlock=${limit}:${limit}`, ...user], { encoding: 'utf8' }).stdout
}

t.test(
  'a ring takes less than 48 KiB',
  { skip: isRoot ? false : 'needs root: it becomes another user' },
  (t) => {
    const kind = printed(8 * KIB * KIB, make)
    t.match(kind, /^[01]$/, '1 with io_uring, 0 where the kernel forbids it')
    t.equal(printed(LIMIT, make), kind)
    t.end()
  },
)

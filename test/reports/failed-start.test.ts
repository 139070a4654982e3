/** A start that fails, at whatever point, leaves no socket, no pid file and no process. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { isRoot } from '../support/device/cases.js'
import { runProgram } from '../support/device/program.js'
import { tempDir } from '../support/host/temp-dir.js'

const sandboxes = isRoot ? ['namespace', 'chroot', 'none'] : ['namespace', 'none']

/** What goes wrong, of which share, and in which sandboxes. */
const failures: Record<string, { args?: string[]; directory?: string; launcher?: string[]; not?: string[] }> =
  {
    'a control socket that cannot be made': { args: ['--control-socket', '/proc/control'] },
    'a group that there is not to give the socket to': { args: ['--socket-group', 'no-such-group'] },
    'a share that has no file handles': { directory: '/proc', args: ['--inode-file-handles', 'mandatory'] },
    ...(isRoot && {
      'namespaces and a new root that may not be made': {
        launcher: [
          'setpriv',
          '--bounding-set',
          '-sys_admin,-sys_chroot',
          '--inh-caps',
          '-sys_admin,-sys_chroot',
        ],
        not: ['none'],
      },
    }),
  }

for (const [what, { args = [], directory, launcher = [], not = [] }] of Object.entries(failures)) {
  for (const sandbox of sandboxes.filter((name) => !not.includes(name))) {
    t.test(`${what} (--sandbox ${sandbox})`, async (t) => {
      const state = tempDir(t)
      mkdirSync(join(state, 'share'))
      const paths = [
        '--shared-dir',
        directory ?? join(state, 'share'),
        '--socket-path',
        join(state, 'socket'),
      ]
      const { status, stderr } = runProgram([...paths, '--sandbox', sandbox, ...args], launcher)
      t.ok(status === 1 || status === 2, `it fails: ${status}, ${stderr}`)
      t.same(readdirSync(state), ['share'])
      t.same(
        readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandOf(pid).includes(state)),
        [],
        'no process',
      )
    })
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
